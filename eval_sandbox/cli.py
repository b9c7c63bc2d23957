"""Judge model-written Python in a sandbox, or try what this host's sandbox withstands."""

import argparse
import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import islice, tee
from pathlib import Path
from typing import Any, Protocol

from eval_sandbox.benchmarks import BENCHMARKS, read_problems
from eval_sandbox.completions import Given, count_completions, stream_completions
from eval_sandbox.contract import ISOLATIONS, Judging
from eval_sandbox.extraction import EXTRACTIONS
from eval_sandbox.judge import judge_all
from eval_sandbox.mistakes import InputError
from eval_sandbox.preambles import PREAMBLES
from eval_sandbox.problem import Problem
from eval_sandbox.sandbox import SandboxUnavailable, check_host
from eval_sandbox.self_check import self_check
from eval_sandbox.unfinished import unfinished, unfinished_name
from eval_sandbox.verdict import Outcome, Verdict

_INTERRUPTED = 130
_BROKEN_PIPE = 141
_UPDATE_SECONDS = 0.2
_LINE_SECONDS = 30.0

_STATUS = """\
exit status: 0 every completion was judged; 1 some could not be (sandbox_error), or this host cannot
isolate them; 2 the input is wrong; 130 stopped by Ctrl-C.
"""
_RESUMING = f"""\
Verdicts come in the order of the completions, one JSON object a line: task_id (as given), index
(line number from 0), outcome, cpu_seconds, wall_seconds, detail. Until all are there they are in
OUT.unfinished. Whatever ends the judge before, Ctrl-C or kill -9, the same command goes on after
the last whole line. The same means: benchmark, split, preamble, extraction, limits, isolation,
interpreter and the content of both files. Another command does not touch them: it exits with 2
and says what differs. Removing OUT.unfinished starts afresh.

{_STATUS}"""


def main(arguments: Sequence[str]) -> int:
    """Run one command; its exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "self-check":
            return _self_check(options.workers)
        return _judge(options)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except SandboxUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped before the first verdict", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        _leave_standard_output()
        return _BROKEN_PIPE


def _leave_standard_output() -> None:
    """Keep the interpreter from complaining at its end about a reader that is gone."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval_sandbox",
        description=__doc__,
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_judge(
        commands.add_parser(
            "judge",
            help="one verdict for each completion of a file",
            epilog=_RESUMING,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    check = commands.add_parser("self-check", help="attack this host's sandbox, one line each")
    _add_workers(check, 4)
    return parser


def _add_judge(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--benchmark", required=True, choices=BENCHMARKS, help="the format of the problems")
    add("--problems", required=True, type=Path, metavar="FILE", help=".jsonl, .json or .gz")
    add(
        "--completions",
        required=True,
        type=Path,
        metavar="FILE",
        help='one object a line: {"task_id", "completion"} or {"task_id", "solution"}',
    )
    add("--out", type=Path, metavar="FILE", help="verdicts, one a line (default: standard output)")
    add("--split", default="", metavar="NAME", help="mbpp: prompt, test, validation or train")
    add("--preamble", default="none", choices=PREAMBLES, help="imports before each program")
    add(
        "--extract",
        default="none",
        choices=EXTRACTIONS,
        help="how the program is found: the text as it is, the first ```python fence, or the code "
        "in a chat answer with whatever stands around it",
    )
    add(
        "--isolation",
        default="full",
        choices=ISOLATIONS,
        help="none gives up the namespaces: an answer can read every file that you can read, and "
        "only resource limits and the filter of system calls are left. For answers you trust, on "
        "a host that cannot isolate; never chosen by itself",
    )
    _add_workers(parser, os.cpu_count() or 1)


def _add_workers(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument(
        "--workers",
        type=_positive,
        default=default,
        metavar="N",
        help="how many at once (default: %(default)s)",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _judge(options: argparse.Namespace) -> int:
    problems, total = _inputs(options)
    judging = Judging(
        preamble=options.preamble, extract=options.extract, isolation=options.isolation
    )
    check_host(judging.isolation)
    progress = _Progress(total)
    try:
        with _sink(options, judging) as sink:
            progress.begin(sink.counts)
            for given, verdict in _verdicts(options, problems, judging, sink.counts.total()):
                sink.write(_record(given, verdict))
                progress.show()
    except KeyboardInterrupt:
        progress.clear()
        print(_stopped(progress, options.out), file=sys.stderr)
        return _INTERRUPTED
    progress.end()
    return 1 if progress.counts[Outcome.SANDBOX_ERROR] else 0


def _inputs(options: argparse.Namespace) -> tuple[Sequence[Problem], int]:
    """The problems and the number of completions, or the mistakes of all files together."""
    mistakes: list[str] = []
    problems: Sequence[Problem] = ()
    total = 0
    try:
        problems = read_problems(options.benchmark, options.problems, options.split)
    except InputError as error:
        mistakes.append(str(error))
    try:
        total = _count(options.completions, problems)
    except InputError as error:
        mistakes.append(str(error))
    out: Path | None = options.out
    if out is not None and not out.absolute().parent.is_dir():
        mistakes.append(f"{out}: there is no folder {out.absolute().parent}")
    elif out is not None and out.is_dir():
        mistakes.append(f"{out} is a folder; the name of a file is expected")
    if mistakes:
        raise InputError("\n".join(mistakes))
    return problems, total


def _count(completions: Path, problems: Sequence[Problem]) -> int:
    if completions.exists() and not completions.is_file() and not completions.is_dir():
        raise InputError(f"{completions}: this is read twice, so a file is expected, not a pipe")
    return count_completions(completions, problems)


def _verdicts(
    options: argparse.Namespace, problems: Sequence[Problem], judging: Judging, done: int
) -> Iterator[tuple[Given, Verdict]]:
    """Each completion after the first `done` with its verdict, in their order."""
    given = islice(stream_completions(options.completions, problems), done, None)
    shown, judged = tee(given)
    pairs = ((one.problem, one.completion) for one in judged)
    yield from zip(shown, judge_all(pairs, judging, options.workers), strict=True)


class _Sink(Protocol):
    """Where verdicts go."""

    counts: Counter[Outcome]

    def write(self, verdict: dict[str, Any]) -> None: ...


class _StandardOutput:
    def __init__(self) -> None:
        self.counts: Counter[Outcome] = Counter()

    def write(self, verdict: dict[str, Any]) -> None:
        print(json.dumps(verdict), flush=True)
        self.counts[Outcome(verdict["outcome"])] += 1


def _sink(options: argparse.Namespace, judging: Judging) -> AbstractContextManager[_Sink]:
    if options.out is None:
        return nullcontext(_StandardOutput())
    command = {
        "benchmark": options.benchmark,
        "split": options.split,
        "problems_sha256": _sha256(options.problems),
        "completions_sha256": _sha256(options.completions),
        **judging.content(),
    }
    return unfinished(options.out, command)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record(given: Given, verdict: Verdict) -> dict[str, Any]:
    return {
        "task_id": given.task_id,
        "index": given.index,
        "outcome": verdict.outcome.value,
        "cpu_seconds": verdict.cpu_seconds,
        "wall_seconds": verdict.wall_seconds,
        "detail": verdict.detail,
    }


def _stopped(progress: "_Progress", out: Path | None) -> str:
    said = f"stopped: {progress.counts.total()} of {progress.total} verdicts are "
    if out is None:
        return f"{said}written"
    return f"{said}in {unfinished_name(out)}; the same command goes on after them"


class _Progress:
    """Standard error: on a terminal one line that keeps itself up to date, else a line at times."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.counts: Counter[Outcome] = Counter()
        self._before = 0
        self._terminal = sys.stderr.isatty()
        self._began = self._shown = time.monotonic()

    def begin(self, counts: Counter[Outcome]) -> None:
        """Follow `counts`, which hold the verdicts of an earlier process."""
        self.counts = counts
        self._before = counts.total()
        self._began = self._shown = time.monotonic()
        if self._before:
            print(f"going on after {self._before} verdicts that were there", file=sys.stderr)

    def show(self) -> None:
        """Say how far it is, unless that was said a moment ago."""
        now = time.monotonic()
        if now - self._shown < (_UPDATE_SECONDS if self._terminal else _LINE_SECONDS):
            return
        self._shown = now
        done = self.counts.total()
        rate = (done - self._before) / (now - self._began)
        text = (
            f"{done}/{self.total} judged, {self.counts[Outcome.PASSED]} passed, {rate:.1f}/s, "
            f"{_duration((self.total - done) / rate)} left"
        )
        if self._terminal:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line off the terminal."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr)

    def end(self) -> None:
        """Say what became of all."""
        self.clear()
        seconds = time.monotonic() - self._began
        now = self.counts.total() - self._before
        parts = [f"{self.counts[outcome]} {outcome}" for outcome in Outcome if self.counts[outcome]]
        before = f" after {self._before} before" if self._before else ""
        rate = f" ({now / seconds:.1f}/s)" if seconds else ""
        what = ", ".join(parts) or "nothing"
        print(f"{now} judged{before} in {_duration(seconds)}{rate}: {what}", file=sys.stderr)


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _self_check(workers: int) -> int:
    through = total = 0
    for trial in self_check(workers):
        total += 1
        through += not trial.withstood
        mark = "ok  " if trial.withstood else "FAIL"
        left = f", {trial.survivors} processes left behind" if trial.survivors else ""
        left += f", {trial.aftermath}" if trial.aftermath else ""
        print(f"{mark}  {trial.name}: {trial.verdict.outcome}{left}  {trial.verdict.detail}"[:160])
    print(
        f"{total - through} of {total} withstood" + (f", {through} got through" if through else "")
    )
    return 1 if through else 0
