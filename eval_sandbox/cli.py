"""Judge model-written Python in a sandbox, or try what this host's sandbox withstands.

Exit status of `judge`: 0 when every completion was judged, 1 when some could not be (the
outcome is sandbox_error, or this host cannot isolate them), 2 when the input is wrong.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from eval_sandbox.benchmarks import BENCHMARKS, read_problems
from eval_sandbox.completions import Given, read_completions
from eval_sandbox.contract import Judging, default_limits
from eval_sandbox.judge import judge_all
from eval_sandbox.mistakes import InputError
from eval_sandbox.preambles import EXTRACTIONS, PREAMBLES
from eval_sandbox.problem import Problem
from eval_sandbox.sandbox import SandboxUnavailable, check_host
from eval_sandbox.self_check import self_check
from eval_sandbox.verdict import Outcome, Verdict


def main(arguments: Sequence[str]) -> int:
    """Run one command; its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
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
        print("stopped; nothing was written", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m eval_sandbox", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    judge = commands.add_parser("judge", help="one verdict for each completion of a file")
    add = judge.add_argument
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
    add("--extract", default="none", choices=EXTRACTIONS, help="how the program is found")
    _add_workers(judge, os.cpu_count() or 1)
    check = commands.add_parser("self-check", help="attack this host's sandbox, one line each")
    _add_workers(check, 4)
    return parser


def _add_workers(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument(
        "--workers", type=_positive, default=default, metavar="N", help="how many at once"
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _judge(options: argparse.Namespace) -> int:
    given = _inputs(options)
    check_host()
    judging = Judging(
        preamble=options.preamble,
        extract=options.extract,
        limits=default_limits(options.benchmark),
    )
    pairs = [(one.problem, one.completion) for one in given]
    counts: Counter[Outcome] = Counter()
    progress = _Progress(len(pairs))
    with _output(options.out) as file:
        verdicts = judge_all(pairs, judging, options.workers)
        for one, verdict in zip(given, verdicts, strict=True):
            print(_line(one, verdict), file=file)
            counts[verdict.outcome] += 1
            progress.show(counts)
    progress.end(counts)
    return 1 if counts[Outcome.SANDBOX_ERROR] else 0


def _inputs(options: argparse.Namespace) -> list[Given]:
    """The completions with their problems, or the mistakes of all files together."""
    mistakes: list[str] = []
    problems: Sequence[Problem] = ()
    given: list[Given] = []
    try:
        problems = read_problems(options.benchmark, options.problems, options.split)
    except InputError as error:
        mistakes.append(str(error))
    try:
        given = read_completions(options.completions, problems)
    except InputError as error:
        mistakes.append(str(error))
    if options.out is not None and not options.out.absolute().parent.is_dir():
        mistakes.append(f"{options.out}: there is no folder {options.out.absolute().parent}")
    if mistakes:
        raise InputError("\n".join(mistakes))
    return given


@contextmanager
def _output(path: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that has its name only once it is complete."""
    if path is None:
        yield sys.stdout
        return
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            yield file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _line(given: Given, verdict: Verdict) -> str:
    return json.dumps(
        {
            "task_id": given.task_id,
            "index": given.index,
            "outcome": verdict.outcome.value,
            "cpu_seconds": verdict.cpu_seconds,
            "wall_seconds": verdict.wall_seconds,
            "detail": verdict.detail,
        }
    )


class _Progress:
    """One line on standard error that keeps itself up to date, where that is a terminal."""

    def __init__(self, total: int) -> None:
        self._total, self._began = total, time.monotonic()
        self._shown = 0.0

    def show(self, counts: Counter[Outcome]) -> None:
        now, done = time.monotonic(), counts.total()
        if not sys.stderr.isatty() or (now - self._shown < 0.2 and done < self._total):
            return
        self._shown = now
        left = (now - self._began) / done * (self._total - done)
        text = f"{done}/{self._total} judged, {counts[Outcome.PASSED]} passed, {left:.0f} s left"
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def end(self, counts: Counter[Outcome]) -> None:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr)
        seconds = time.monotonic() - self._began
        parts = [f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome]]
        what = ", ".join(parts) or "nothing"
        print(f"{counts.total()} judged in {seconds:.1f} s: {what}", file=sys.stderr)


def _self_check(workers: int) -> int:
    through = total = 0
    for trial in self_check(workers):
        total += 1
        through += not trial.withstood
        mark = "ok  " if trial.withstood else "FAIL"
        left = f", {trial.survivors} processes left behind" if trial.survivors else ""
        print(f"{mark}  {trial.name}: {trial.verdict.outcome}{left}  {trial.verdict.detail}"[:160])
    print(
        f"{total - through} of {total} withstood" + (f", {through} got through" if through else "")
    )
    return 1 if through else 0
