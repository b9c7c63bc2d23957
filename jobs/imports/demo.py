"""`make demo-board`: answers that others published, imported where they are on this machine."""

import os
import sys
from pathlib import Path

from pydantic import Field
from rich.console import Console
from rich.markup import escape

from database.session import LedgerError
from eval_sandbox.sandbox import SandboxUnavailable
from jobs.declared import Declared, UserError, read_yaml, report
from jobs.importing import import_answers
from jobs.imports.reading import Import
from jobs.judge import SandboxFailedError
from jobs.recipes import (
    BENCH,
    ROOT,
    BenchmarkRecipe,
    MissingFileError,
    PinnedFile,
    find_file,
    read_recipe,
)

LIST = ROOT / "datasets" / "published" / "demo-board.yaml"


class Published(Declared):
    """One file of answers, and what its publisher says of them."""

    name: str
    """Of whoever made the answers."""
    benchmark: str
    source: PinnedFile
    licence: str
    """SPDX identifier, of the answers."""
    published: dict[str, float] = Field(default_factory=dict)
    """`pass@1` -> a fraction, where the file has no verdicts to count."""
    published_at: str = ""


class DemoBoard(Declared):
    """What stands in datasets/published/demo-board.yaml."""

    description: str = ""
    answers: tuple[Published, ...]


def import_demo(console: Console, path: Path = LIST) -> int:
    """Import every file of the list that is below `CODELADDER_DATA`; safe to repeat.

    Returns:
        How many were imported or in the ledger already.

    Raises:
        UserError: none of them is there, or the list is wrong.
    """
    board, mistakes = DemoBoard.parse(read_yaml(path))
    if board is None:
        raise report(path, mistakes)
    there = [
        (answers, file)
        for answers in board.answers
        if (file := _found(answers, answers.source, path.parent, console))
    ]
    if not there:
        data = os.environ.get("CODELADDER_DATA") or "not set"
        raise UserError(
            f"none of the {len(board.answers)} files of {path.name} is below CODELADDER_DATA "
            f"({data}). Each is published at its url in that list; fetch some, and set DATA=FOLDER"
        )
    done = sum(_import(answers, file, console) for answers, file in there)
    if not done:
        raise UserError("answers are there, but no file of their benchmarks: see above")
    console.print(f"{done} of {len(board.answers)} files are on the board: make leaderboard")
    return done


def _import(answers: Published, file: Path, console: Console) -> bool:
    """Import one file; False: its benchmark's file is missing, which is said."""
    benchmark = read_recipe(BenchmarkRecipe, BENCH, answers.benchmark)
    if _found(answers, benchmark.source, BENCH, console) is None:
        return False
    console.rule(f"{escape(answers.name)}, {answers.benchmark}", align="left")
    import_answers(_order(answers, file), console)
    return True


def _found(answers: Published, wanted: PinnedFile, folder: Path, console: Console) -> Path | None:
    """A file that an import needs; None: it is missing, which is said."""
    try:
        return find_file(wanted, folder)
    except MissingFileError as missing:
        said = f"{answers.name}, {answers.benchmark}: skipped. {missing}"
        console.print(said, style="dim", markup=False)
        return None


def _order(answers: Published, file: Path) -> Import:
    return Import(
        files=(file,),
        name=answers.name,
        benchmark=answers.benchmark,
        published=answers.published,
        source=answers.published_at,
    )


def main() -> int:
    """Run it; returns the exit status."""
    try:
        import_demo(Console(width=None if sys.stdout.isatty() else 140))
    except (UserError, LedgerError, SandboxUnavailable) as error:
        print(error, file=sys.stderr)
        return 2
    except SandboxFailedError as error:
        print(f"Nothing of this file was recorded: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
