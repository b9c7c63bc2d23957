"""Rows a second that sixteen processes write into one ledger, beside a plain executemany.

Both write the same completions in the same batches, each batch one transaction that survives the
death of the database: SQLite with synchronous=FULL, PostgreSQL as it comes. They take turns, and
the ratio is that of the medians. Then writers are killed, -9, while they write, and what was
acknowledged is looked for.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ledger_writers import Load, killed, prepare, together
from private_postgres import MissingPostgresError, private_server

WRITERS = 16


def main() -> int:
    """Print the tables and the figures; 1 where an acknowledged row was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--kills", type=int, default=20)
    asked = parser.parse_args()
    load = Load(batches=asked.batches, size=asked.size)
    print(
        f"{WRITERS} writers, {load.batches} batches of {load.size} rows each, load before: ", end=""
    )
    print(f"{os.getloadavg()[0]:.1f}")
    whole = True
    figures = []
    for name in ("sqlite", "postgresql"):
        try:
            with _database(name) as url:
                figures.append((name, _measure(name, url, load, asked.rounds)))
                whole &= _kill(name, url, asked.kills)
        except MissingPostgresError as error:
            print(error)
    for name, ratio in figures:
        print(f"figure ledger_vs_executemany_{name} {ratio:.2f} times")
    return 0 if whole else 1


@contextmanager
def _database(name: str) -> Iterator[str]:
    if name == "postgresql":
        with private_server() as server:
            yield server.url
        return
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
        yield f"sqlite:///{Path(folder) / 'ledger.db'}"


def _measure(name: str, url: str, load: Load, rounds: int) -> float:
    prepare(url)
    found: dict[str, list[float]] = {"ours": [], "plain": []}
    count = WRITERS * load.batches * load.size
    for turn in range(rounds):
        for how in ("ours", "plain") if turn % 2 else ("plain", "ours"):
            writers = [f"{how[0]}{turn}{number:02}" for number in range(WRITERS)]
            found[how].append(count / together(url, how, writers, load))
    for how, speeds in found.items():
        told = ", ".join(f"{speed:,.0f}" for speed in speeds)
        print(f"{name:12}{how:8}{statistics.median(speeds):10,.0f} rows/s   ({told})")
    return statistics.median(found["ours"]) / statistics.median(found["plain"])


def _kill(name: str, url: str, kills: int) -> bool:
    writers = [f"k{number:02}" for number in range(WRITERS)]
    found = killed(url, writers, Load(batches=40 + 10 * kills, size=10), kills)
    print(
        f"{name:12}{found.kills} kills: {found.acknowledged:,} rows acknowledged, "
        f"{found.lost} lost, {found.half} batches in part"
    )
    return not (found.lost or found.half)


if __name__ == "__main__":
    sys.exit(main())
