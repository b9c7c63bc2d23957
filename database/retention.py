"""What is taken away to save room: the texts of old answers, and the weights of old runs.

Scores, verdicts and tallies stay, so every number and every comparison on the board stays. What
goes with a text is that it can be read and judged again; what goes with weights is that they can
be served, exported, or asked anything else. Only runs that are done lose anything, and of these
none that a driver works on. What lies below `CODELADDER_STORE` goes by the same rules: a driver
would fetch it again.
"""

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, Engine, func, select, update

from database.claims import Claim, beat, claim, holders, release, require
from database.clock import clock, moment
from database.copies import NO_COPIES, Copies, Store
from database.patience import patiently
from database.rows import rows_of
from database.schema import Completion, Event, Run
from database.writing import write

WEIGHTS = ("checkpoint", "attempts")
"""Folders of a run that hold weights."""
ANSWERS = ("completions",)
"""Folders of a run that hold texts of answers."""
BATCH = 1000
"""Answers that lose their text in one transaction."""
PRUNED = "(the text of this answer was pruned on {day})"
"""What stands in place of a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How many days after its end a run keeps what takes room; None: for good."""

    completions: float | None
    checkpoints: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prunable:
    """What a run would lose."""

    run: str
    label: str
    finished_at: datetime
    answers: int
    """Whose text would go."""
    characters: int
    """Of these texts."""
    folders: tuple[Path, ...]
    size: int
    """Bytes of these folders."""
    copies: Copies = NO_COPIES
    """In the store."""
    held_by: str = ""
    """Host of the driver that works on it; it then loses nothing."""


def prunable(engine: Engine, home: Path, keep: Keep, store: Store | None = None) -> list[Prunable]:
    """Return what old runs would lose, those that lose nothing left out; the oldest first.

    Args:
        engine: of the ledger.
        home: the folder of work, below which alone anything is taken away.
        keep: for how long what is kept.
        store: has copies of what is in the folder of work; None: there is none.

    Raises:
        StoreError: it cannot be used.
    """
    now = moment(engine)
    texts = _ended_before(engine, _since(now, keep.completions))
    weights = _ended_before(engine, _since(now, keep.checkpoints))
    of_texts = _texts(engine, texts)
    held = holders(engine, [*texts, *weights])
    found = []
    for run_id, (label, ended) in sorted((texts | weights).items(), key=lambda one: one[1][1]):
        names = (ANSWERS if run_id in texts else ()) + (WEIGHTS if run_id in weights else ())
        folders = tuple(_folders(home, run_id, names))
        copies = store.copies(run_id, names) if store else NO_COPIES
        answers, characters = of_texts.get(run_id, (0, 0))
        if not answers and not folders and not copies.folders:
            continue
        holder = held.get(run_id)
        found.append(
            Prunable(
                run=run_id,
                label=label,
                finished_at=ended,
                answers=answers,
                characters=characters,
                folders=folders,
                size=sum(map(_size, folders)),
                copies=copies,
                held_by=(holder.host or "another host") if holder and holder.alive else "",
            )
        )
    return found


def prune(engine: Engine, wanted: Prunable, store: Store | None = None) -> bool:
    """Take away what a run would lose, and record that it was.

    The run is claimed meanwhile, as by a driver. Killed midway, the same again goes on.

    Returns:
        False: a driver works on it by now, or has since, and nothing was taken away.

    Raises:
        LostClaimError: this process was stopped for so long that a driver has taken the run over.
        StoreError: the store cannot be used; the same again goes on.
    """
    held = claim(engine, wanted.run, secrets.token_hex(16))
    if held is None:
        return False
    doomed: list[Path] = []
    try:
        if _ended(engine, wanted.run) != wanted.finished_at:
            return False
        if wanted.answers:
            _blank(engine, held)
            said = f"the texts of {wanted.answers} answers were pruned; their verdicts are kept"
            write(engine, [Event(run=wanted.run, kind="pruned answers", message=said)], held)
        beat(engine, held.driver)
        patiently(engine, lambda connection: require(connection, held))
        if store:
            store.remove(wanted.copies)
        doomed = [_set_aside(folder) for folder in wanted.folders if folder.is_dir()]
        gone = {folder.name for folder in (*wanted.folders, *map(Path, wanted.copies.folders))}
        if gone & set(WEIGHTS):
            said = "the weights were pruned; the scores are kept"
            write(engine, [Event(run=wanted.run, kind="pruned weights", message=said)], held)
    finally:
        release(engine, held)
    for folder in doomed:
        shutil.rmtree(folder)
    return True


def _since(now: datetime, days: float | None) -> datetime | None:
    return None if days is None else now - timedelta(days=days)


def _ended_before(engine: Engine, moment: datetime | None) -> dict[str, tuple[str, datetime]]:
    """Label and end of the runs that were done before a moment, by run; none without a moment."""
    if moment is None:
        return {}
    ended = func.coalesce(Run.finished_at, Run.created_at).label("ended")
    wanted = select(Run.id, Run.label, ended).where(Run.state == "done", ended < moment)
    return {row.id: (row.label, row.ended) for row in rows_of(engine, wanted)}


def _ended(engine: Engine, run_id: str) -> datetime | None:
    """When a run was done; None: it is not."""
    ended = func.coalesce(Run.finished_at, Run.created_at).label("ended")
    found = rows_of(engine, select(ended).where(Run.id == run_id, Run.state == "done"))
    return found[0].ended if found else None


def _texts(engine: Engine, runs: dict[str, tuple[str, datetime]]) -> dict[str, tuple[int, int]]:
    """How many answers of each of these runs still have a text, and the characters of these."""
    wanted = (
        select(Completion.run, func.count().label("n"), func.sum(func.length(Completion.text)))
        .where(Completion.run.in_(runs), Completion.pruned_at.is_(None))
        .group_by(Completion.run)
    )
    return {run: (answers, characters or 0) for run, answers, characters in rows_of(engine, wanted)}


def _blank(engine: Engine, held: Claim) -> None:
    """Take the texts of a run away, some at a time, so that its claim is renewed meanwhile."""
    texts = Completion.run == held.run, Completion.pruned_at.is_(None)
    some = select(Completion.id).where(*texts).limit(BATCH)

    def act(connection: Connection) -> int:
        require(connection, held)
        day: date = connection.execute(select(clock())).scalar_one().date()
        blanked = update(Completion).where(Completion.id.in_(some))
        values = {"text": PRUNED.format(day=day), "pruned_at": clock()}
        return connection.execute(blanked.values(values)).rowcount

    while patiently(engine, act):
        beat(engine, held.driver)


def _folders(home: Path, run_id: str, names: tuple[str, ...]) -> Iterator[Path]:
    """The folders of a run that are there; a link is none, whatever it leads to.

    With what an earlier pruning set aside, and was killed before it had taken it away.
    """
    for name in names:
        folder = home / run_id / name
        for one in (folder, *sorted(folder.parent.glob(f"{_aside(name)}*"))):
            if one.is_dir() and not one.is_symlink() and not (home / run_id).is_symlink():
                yield one


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _aside(name: str) -> str:
    return f".{name}.pruned-"


def _set_aside(folder: Path) -> Path:
    """Give a folder another name: it is gone at once for whoever looks for it by its own."""
    if folder.name.startswith("."):
        return folder
    return folder.rename(folder.with_name(f"{_aside(folder.name)}{secrets.token_hex(4)}"))
