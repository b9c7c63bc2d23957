"""The limit: a warm interpreter that forks for each program and does nothing else.

The child runs the program and its test, unprotected and unjudged but for its exit status. With
`--empty` it ends at once: what fork and wait alone cost in the same process.
"""

import contextlib
import gc
import importlib
import os

import driver

_PRELOADED = """
    abc array ast base64 bisect cmath collections contextlib copy csv dataclasses datetime decimal
    enum fractions functools hashlib heapq io itertools json math numbers operator random re
    statistics string struct textwrap time typing uuid
"""
_REPRESENTATIVE = 20


def main() -> None:
    """Serve."""
    parser = driver.parser(__doc__)
    parser.add_argument("--empty", action="store_true", help="run no program in the child")
    options = parser.parse_args()
    programs = [driver.program(problem) for problem in driver.read(options.problems)]
    _warm(programs)

    def run(executions: int) -> driver.Answer:
        passed = 0
        for _ in range(executions // len(programs)):
            for program in programs:
                passed += _forked("" if options.empty else program)
        return {"passed": passed}

    driver.serve(options.channel, run)


def _warm(programs: list[str]) -> None:
    for name in _PRELOADED.split():
        importlib.import_module(name)
    for program in programs[:: max(1, len(programs) // _REPRESENTATIVE)]:
        _execute(program)
    gc.collect()
    gc.freeze()


def _execute(program: str) -> None:
    exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})


def _forked(program: str) -> bool:
    pid = os.fork()
    if pid == 0:
        status = 1
        with contextlib.suppress(BaseException):
            if program:
                _execute(program)
            status = 0
        os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


if __name__ == "__main__":
    main()
