"""Verdicts on imported answers, kept as they come, so that a killed import goes on where it was."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import IO

from rich.console import Console

from eval_sandbox.contract import Judging
from eval_sandbox.judge import judge_all
from eval_sandbox.problem import Completion
from eval_sandbox.verdict import Outcome, Verdict
from jobs.declared import UserError
from jobs.home import Home
from jobs.imports.found import Found
from jobs.judge import require_verdicts
from jobs.progress import Board


def judge_found(
    found: Sequence[Found], judging: Judging, contract: str, console: Console, title: str
) -> list[Verdict]:
    """A verdict on each answer in their order, by as many workers as there are processors.

    Args:
        found: the answers.
        judging: how.
        contract: hash of the judging contract.
        console: shows how far it is.
        title: of what is judged, for people.

    Raises:
        SandboxFailedError: the sandbox failed on an answer; the verdicts before it are kept for
            the next try.
        UserError: another process judges the same answers now.
    """
    journal = _journal(found, contract)
    journal.parent.mkdir(parents=True, exist_ok=True)
    with _held(journal) as file:
        verdicts = _kept(file, len(found))
        before = len(verdicts)
        if before:
            console.print(f"{before:,} verdicts are there from before", highlight=False)
        pairs = ((f.problem, _completion(f)) for f in islice(found, before, None))
        with Board(console) as board:
            for verdict in judge_all(pairs, judging, workers=os.cpu_count() or 1):
                verdicts.append(verdict)
                if verdict.outcome is Outcome.SANDBOX_ERROR:
                    require_verdicts(verdicts)
                file.write(json.dumps(asdict(verdict)) + "\n")
                done = len(verdicts) - before
                board.update(f"judging {title}", "answers", done, len(found) - before)
    return verdicts


def forget(found: Sequence[Found], contract: str) -> None:
    """Drop the verdicts kept on the way: the ledger has them."""
    _journal(found, contract).unlink(missing_ok=True)


def _journal(found: Sequence[Found], contract: str) -> Path:
    name = f"{_digest(found)}-{contract}.jsonl"
    return Home.from_environment().folder / "imports" / name


def _completion(found: Found) -> Completion:
    return Completion(task_id=found.problem.task_id, text=found.text, whole=found.whole)


def _digest(found: Sequence[Found]) -> str:
    """20 hex digits of the answers, their problems and their order."""
    digest = hashlib.sha256()
    for one in found:
        key = json.dumps([one.problem.task_id, one.text, one.whole])
        digest.update(key.encode())
    return digest.hexdigest()[:20]


@contextmanager
def _held(journal: Path) -> Iterator[IO[str]]:
    with journal.open("a+", buffering=1) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"{journal}: another process judges these answers now; wait for it"
            ) from None
        yield file


def _kept(file: IO[str], at_most: int) -> list[Verdict]:
    """The verdicts of a journal; a last line that a kill tore is cut off."""
    file.seek(0)
    verdicts: list[Verdict] = []
    whole = 0
    while len(verdicts) < at_most and (line := file.readline()):
        try:
            row = json.loads(line)
            verdicts.append(Verdict(**row | {"outcome": Outcome(row["outcome"])}))
        except (ValueError, TypeError, KeyError):
            break
        whole = file.tell()
    file.truncate(whole)
    file.seek(whole)
    return verdicts
