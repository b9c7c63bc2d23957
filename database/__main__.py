"""The command line of the ledger: `python -m database COMMAND --help` tells of each.

The user's mistakes end with status 2, a database that is away or fails with 75, and neither with a
traceback.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy.exc import DBAPIError

from database.address import AWAY, LedgerAwayError, LedgerError, home, ledger_url, shown
from database.amounts import amount
from database.backup import BackupError
from database.claims import LostClaimError
from database.copies import Store, StoreAwayError, StoreError
from database.patience import said_by

if TYPE_CHECKING:
    from database.retention import Prunable


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        return _COMMANDS[asked.command].run(asked)
    except (LedgerAwayError, LostClaimError, StoreAwayError) as error:
        print(error, file=sys.stderr)
        return AWAY
    except DBAPIError as error:
        print(f"the database failed: {said_by(error)}", file=sys.stderr)
        return AWAY
    except (LedgerError, StoreError, BackupError, FileExistsError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename or 'the disk'}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def _backup(asked: argparse.Namespace) -> int:
    from database.backup import back_up
    from database.session import opened_as_it_is

    now = datetime.now(UTC)
    file = asked.file or home() / "backups" / f"ledger-{now:%Y%m%d-%H%M%S}.jsonl.zst"
    with opened_as_it_is() as engine:
        facts = back_up(engine, file)
    rows = sum(facts.rows.values())
    size = file.stat().st_size
    print(f"{file}: {rows} rows of version {facts.revision}, {amount(size)}, sha256 {facts.sha256}")
    return 0


def _restore(asked: argparse.Namespace) -> int:
    from database.backup import fill
    from database.session import opened_empty

    address = ledger_url()
    with opened_empty() as engine:
        facts = fill(engine, address, asked.file)
    rows = sum(facts.rows.values())
    print(f"{shown(address)}: {rows} rows, as they were at {facts.at:%Y-%m-%d %H:%M:%S} UTC")
    return 0


def _vacuum(asked: argparse.Namespace) -> int:
    from database.session import opened_as_it_is
    from database.vacuum import size, vacuum

    with opened_as_it_is() as engine:
        before = size(engine)
        vacuum(engine, full=asked.full)
        after = size(engine)
    print(f"{shown(ledger_url())}: {amount(before)} before, {amount(after)} now")
    return 0


def _prune(asked: argparse.Namespace) -> int:
    from database.retention import Keep, prunable, prune
    from database.session import open_for_reading, open_ledger, opened_as_it_is

    keep = Keep(completions=asked.keep_completions, checkpoints=asked.keep_checkpoints)
    if keep.completions is None and keep.checkpoints is None:
        raise LedgerError(
            "nothing is taken away unless you say what is kept for how long: "
            "--keep-completions DAYS, --keep-checkpoints DAYS"
        )
    store = Store.from_environment()
    open_for_reading().dispose()  # none is made for this
    open_ledger().dispose()  # of this version from here on
    with opened_as_it_is() as engine:
        found = prunable(engine, home().resolve(), keep, store)
        free = [one for one in found if not one.held_by]
        _show_prunable(found, asked.dry_run)
        taken = 0
        for number, one in enumerate(free if not asked.dry_run else [], 1):
            done = prune(engine, one, store)
            taken += done
            said = "pruned" if done else "left alone: a driver works on it"
            print(f"[{number}/{len(free)}] {one.label} ({one.run}): {said}")
    if asked.dry_run:
        print("Nothing was taken away; without --dry-run it is.")
    elif taken:
        print(f"{taken} runs pruned. `python -m database vacuum` gives the ledger's room back.")
    return 0


def _show_prunable(found: "Sequence[Prunable]", dry: bool) -> None:
    verb = "would lose" if dry else "loses"
    for one in found:
        parts = []
        if one.answers:
            parts.append(f"the texts of {one.answers} answers ({amount(one.characters)})")
        parts += [f"{folder}" for folder in one.folders]
        parts += [f"{folder} in the store" for folder in one.copies.folders]
        on_disk = f", {amount(one.size)} on disk" if one.folders else ""
        in_store = f", {amount(one.copies.size)} in the store" if one.copies.folders else ""
        what = f"{verb} {', '.join(parts)}{on_disk}{in_store}"
        if one.held_by:
            what = f"is left alone: a driver on {one.held_by} works on it"
        print(f"{one.label} ({one.run}), done {one.finished_at:%Y-%m-%d}, {what}")
    free = [one for one in found if not one.held_by]
    if not free:
        print("Nothing is old enough to be taken away.")
        return
    characters, size = sum(one.characters for one in free), sum(one.size for one in free)
    kept = sum(one.copies.size for one in free)
    in_store = f", {amount(kept)} in the store" if kept else ""
    print(
        f"{len(free)} runs: {amount(characters)} of texts in the ledger, "
        f"{amount(size)} on disk{in_store}. Scores, verdicts and comparisons stay. Answers without "
        "a text cannot be read on their page or judged again; runs without weights cannot be "
        "served or exported, and are trained again where they are to be asked anything else."
    )


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days < 10**5:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days")
    return days


class _Command(NamedTuple):
    run: Callable[[argparse.Namespace], int]
    told: str
    more: str


_COMMANDS = {
    "backup": _Command(
        _backup,
        "write the whole ledger into one file",
        "The file is of one moment, has its sha256 in it, and fills either database again. "
        "Drivers may go on meanwhile. Without FILE it goes to backups/ in CODELADDER_HOME.",
    ),
    "restore": _Command(
        _restore,
        "fill an empty database from a backup",
        "The file is verified to its end first. A database that has rows is refused. A backup of "
        "an older version is brought to this one.",
    ),
    "vacuum": _Command(
        _vacuum,
        "let the room of what was deleted be used again, and measure the tables anew",
        "SQLite gives the room back to the disk; it needs as much free disk as the ledger is large "
        "meanwhile, and writers wait.",
    ),
    "prune": _Command(
        _prune,
        "take away texts of old answers and weights of old runs",
        "Scores, verdicts and comparisons stay. Only runs that are done lose anything, and none "
        "that a driver works on. Copies below CODELADDER_STORE go as well, where it is set.",
    ),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m database",
        description="Look after the ledger, CODELADDER_DATABASE_URL, by default ledger.db in "
        "CODELADDER_HOME.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {
        name: commands.add_parser(name, help=command.told, description=command.more)
        for name, command in _COMMANDS.items()
    }
    made["backup"].add_argument("file", nargs="?", type=Path, metavar="FILE")
    made["restore"].add_argument("file", type=Path, metavar="FILE")
    made["vacuum"].add_argument(
        "--full",
        action="store_true",
        help="give the room back to the disk of PostgreSQL, too; refused while a driver works",
    )
    made["prune"].add_argument(
        "--dry-run", action="store_true", help="say what would go and how much it is"
    )
    for what, said in (("completions", "texts of answers"), ("checkpoints", "weights")):
        made["prune"].add_argument(
            f"--keep-{what}",
            type=_days,
            metavar="DAYS",
            help=f"keep {said} of runs that were done within so many days; else for good",
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
