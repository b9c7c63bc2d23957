"""Sixteen processes that write one ledger at once, are killed, and are asked what became of it.

A writer puts down in a file of its own what the ledger has acknowledged, and goes on from there
when it is started again. As a script it is one such writer.
"""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy import select

from database import open_ledger, write
from database.schema import Completion, Contract, Run

ROOT = Path(__file__).parents[1]
RUN, ASKING = "written00000", "asking000001"
COLUMNS = tuple(column.name for column in Completion.__table__.columns)
UPSERT = (
    f"INSERT INTO completions ({', '.join(COLUMNS)}) VALUES ({{}}) ON CONFLICT (id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name != "id")
)
"""What a plain executemany runs; the placeholders are left out."""


Storing = Callable[[list[dict[str, object]]], None]
"""Stores rows in one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one writer writes."""

    batches: int
    size: int
    """Rows of a batch, which is one transaction."""


def prepare(url: str) -> None:
    """Make the ledger, with what the rows point at."""
    engine = open_ledger(url)
    contract = Contract(id=ASKING, kind="asking", content={})
    write(engine, [Run(id=RUN, label="", kind="base", model=""), contract])
    engine.dispose()


def start(url: str, how: str, writer: str, load: Load, acks: Path) -> "subprocess.Popen[str]":
    """Start a writer; it says `ready`, and begins when it hears a line."""
    command = [sys.executable, __file__, url, how, writer, str(acks)]
    return subprocess.Popen(
        [*command, str(load.batches), str(load.size)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def together(url: str, how: str, writers: Sequence[str], load: Load) -> float:
    """Seconds in which writers that begin at once write all of their load.

    Raises:
        RuntimeError: one of them failed.
    """
    folder = Path(tempfile.mkdtemp(prefix="acks-"))
    started = [start(url, how, writer, load, folder / writer) for writer in writers]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        began = time.perf_counter()
        _go(started)
        ended = [process.wait(600) for process in started]
        if any(ended):
            raise RuntimeError("a writer failed")
        return time.perf_counter() - began
    finally:
        end(started)
        shutil.rmtree(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """What became of rows whose writers were killed."""

    kills: int
    acknowledged: int
    """Rows of which a writer was told that they are stored."""
    lost: int
    """Of these, those that are not there to the letter."""
    half: int
    """Batches of which a part is there."""
    rows: int


def killed(url: str, writers: Sequence[str], load: Load, kills: int, seed: int = 7) -> Killed:
    """Kill writers at random, -9, each started again, and count at the end what is there."""
    random_ = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="acks-"))

    def begin(writer: str) -> "subprocess.Popen[str]":
        process = start(url, "ours", writer, load, folder / writer)
        _go([process])
        return process

    running = {writer: begin(writer) for writer in writers}
    done = 0
    try:
        while done < kills:
            time.sleep(random_.uniform(0.05, 0.4))
            alive = [w for w in writers if running[w].poll() is None and _begun(folder / w)]
            if not alive:
                if all(process.poll() is not None for process in running.values()):
                    break
                continue
            writer = random_.choice(alive)
            running[writer].send_signal(signal.SIGKILL)
            end([running[writer]])
            done += 1
            running[writer] = begin(writer)
        for process in running.values():
            process.wait(600)
        return _counted(url, folder, load, done)
    finally:
        end(list(running.values()))
        shutil.rmtree(folder)


def _begun(acks: Path) -> bool:
    return acks.exists() and acks.stat().st_size > 0


def _go(started: "Sequence[subprocess.Popen[str]]") -> None:
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def end(started: "Sequence[subprocess.Popen[str]]") -> None:
    """End what still runs, and close what it was heard by."""
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue


def acknowledged(folder: Path) -> dict[str, int]:
    """How many batches each writer was told to be stored."""
    return {path.name: _last(path) + 1 for path in folder.iterdir()}


def _counted(url: str, folder: Path, load: Load, kills: int) -> Killed:
    told = acknowledged(folder)
    engine = open_ledger(url)
    with engine.connect() as connection:
        stored = dict(map(tuple, connection.execute(select(Completion.id, Completion.text))))
    engine.dispose()
    lost = half = 0
    for writer, batches in told.items():
        for batch in range(load.batches):
            expected = {row["id"]: row["text"] for row in rows(writer, batch, load.size)}
            there = {key: stored[key] for key in expected if key in stored}
            half += 0 < len(there) < load.size
            if batch < batches:
                lost += sum(stored.get(key) != text for key, text in expected.items())
    total = sum(told.values()) * load.size
    return Killed(kills=kills, acknowledged=total, lost=lost, half=half, rows=len(stored))


def rows(writer: str, batch: int, size: int) -> list[dict[str, object]]:
    """The columns of one batch of completions."""
    return [
        {
            "id": f"{writer}-{batch:06}-{number:05}",
            "run": RUN,
            "benchmark": "humaneval",
            "task_id": f"HumanEval/{number}",
            "position": batch,
            "asking": ASKING,
            "text": f"    return sorted(xs)[{batch}:{number}]  # {writer}\n" * 6,
            "whole": False,
            "tokens": 60,
            "finish": "stop",
            "pruned_at": None,
        }
        for number in range(size)
    ]


def _last(acks: Path) -> int:
    """The last batch that was acknowledged; -1: none."""
    lines = acks.read_text().split("\n") if acks.exists() else []
    return int(lines[-2]) if len(lines) > 1 else -1


def _write(url: str, how: str, writer: str, acks: Path, load: Load) -> None:
    store = _STORING[how](url)
    batches = range(_last(acks) + 1, load.batches)
    print("ready", flush=True)
    sys.stdin.readline()
    with acks.open("a") as told:
        for batch in batches:
            store(rows(writer, batch, load.size))
            told.write(f"{batch}\n")
            told.flush()


def _ours(url: str) -> Storing:
    engine = open_ledger(url)
    return lambda batch: write(engine, [Completion(**row) for row in batch])


def _plain_sqlite(url: str) -> Storing:
    import sqlite3

    path = url.removeprefix("sqlite:///")
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    sql = UPSERT.format(", ".join(f":{name}" for name in COLUMNS))

    def store(batch: list[dict[str, object]]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(sql, batch)
        connection.execute("COMMIT")

    return store


def _plain_postgresql(url: str) -> Storing:
    connection = psycopg.connect(url)
    sql = UPSERT.format(", ".join(f"%({name})s" for name in COLUMNS))

    def store(batch: list[dict[str, object]]) -> None:
        with closing(connection.cursor()) as cursor:
            cursor.executemany(sql, batch)
        connection.commit()

    return store


def _plain(url: str) -> Storing:
    return (_plain_sqlite if url.startswith("sqlite") else _plain_postgresql)(url)


_STORING = {"ours": _ours, "plain": _plain}


if __name__ == "__main__":
    _url, _how, _writer, _acks, _batches, _size = sys.argv[1:]
    _write(_url, _how, _writer, Path(_acks), Load(batches=int(_batches), size=int(_size)))
