"""How quick the board is over millions of verdicts: `make bench-board`, within twenty minutes.

A script makes two ledgers: 200 runs (8 bases, and adapters of each by method, dataset and seed) on
five benchmarks; in a private PostgreSQL with 5 million verdicts, in SQLite with 100 thousand. On
each, in turn:

- every query function that the page of the board calls, ten times in a process that has asked
  before: the median, the worst, and the first call, which draws for the statistics as well; and of
  the median the part in which the database answers, rows sent and received: the slowest of these is
  the figure, for the page keeps the rest until a row changes;
- in headless Chromium, on a server that has shown the page before, each time in a fresh profile:
  the seconds from the navigation until the ranked table is visible, median of ten, and the bytes
  of that visit, Streamlit's own files apart;
- in one tab, the seconds from the Enter of a search until the table shows its rows, median of ten;
  without Enter, Streamlit waits a moment for another key.

The last lines are `figure NAME VALUE UNIT`, of PostgreSQL unless only SQLite is measured. The
status is 1 where the page could not be measured.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from board_rows import BENCHMARKS, MODELS, POSTGRESQL, SQLITE, TINY, Size, fill
from board_visits import Visits, visits
from private_postgres import MissingPostgresError, private_postgres
from sqlalchemy import Engine, event

from database import open_for_reading, open_ledger, queries
from database.anomalies import anomalies
from database.costs import costs
from database.in_view import in_view
from database.spread import over_seeds
from database.tallies import tallies

ROOT = Path(__file__).resolve().parent.parent
BENCHMARK = BENCHMARKS[0]
METRIC = "pass@1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One query function; milliseconds."""

    name: str
    first: float
    median: float
    worst: float
    """Of the calls after the first."""
    database: float
    """Median of the parts in which the database answered."""


def main() -> int:
    """Measure both databases; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a few rows, to see that it runs")
    parser.add_argument("--only", choices=["SQLite", "PostgreSQL"], help="measure one of the two")
    asked = parser.parse_args()
    times = 2 if asked.tiny else 10
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is stopped
    with ExitStack() as open_:
        found = []
        if asked.only != "PostgreSQL":
            folder = Path(open_.enter_context(tempfile.TemporaryDirectory(prefix="board-")))
            file = f"sqlite:///{folder / 'ledger.db'}"
            found.append(_measured("SQLite", file, TINY if asked.tiny else SQLITE, times))
        if asked.only != "SQLite":
            try:
                address = open_.enter_context(private_postgres())
            except MissingPostgresError as error:
                print(f"{error}; there are no figures of it")
                return 1
            size = TINY if asked.tiny else POSTGRESQL
            found.append(_measured("PostgreSQL", address, size, times))
    queried, visited = found[-1]
    _figures(queried, visited)
    return 0 if all(visited for _, visited in found) else 1


def _measured(name: str, address: str, size: Size, times: int) -> tuple[list[Timed], Visits | None]:
    print(f"\n{name}: {size.runs} runs, {size.verdicts:,} verdicts", flush=True)
    started = time.monotonic()
    writer = open_ledger(address)
    fill(writer, size)
    writer.dispose()
    print(f"rows made in {time.monotonic() - started:.0f} s", flush=True)
    queried = _queries(address, times)
    visited = None
    with _served(address) as url:
        visited = visits(url, MODELS[:2], times)
    if visited:
        _told(visited)
    return queried, visited


def _queries(address: str, times: int) -> list[Timed]:
    """Time what the page of the board asks of the database; print it."""
    reader = open_for_reading(address)
    answering: list[float] = []
    _listen(reader, answering)
    found = [_timed(name, ask, times, answering) for name, ask in _asked(reader)]
    reader.dispose()
    print(f"{'query':<14}{'first':>9}{'median':>9}{'worst':>9}{'database':>10}  ms")
    for one in found:
        cells = f"{one.first:>9.1f}{one.median:>9.1f}{one.worst:>9.1f}{one.database:>10.1f}"
        print(f"{one.name:<14}{cells}")
    sys.stdout.flush()
    return found


def _asked(reader: Engine) -> Iterator[tuple[str, Callable[[], object]]]:
    """The query functions of the page, on the benchmark that it opens with."""
    yield "pulse", partial(queries.pulse, reader)
    yield "benchmarks", partial(queries.benchmarks, reader)
    yield "runs", partial(queries.runs, reader)
    ask = partial(queries.standings, reader, benchmark=BENCHMARK, metric=METRIC)
    yield "standings", ask
    found = ask()
    contract = {"benchmark": BENCHMARK, "asking": found[0].asking, "judging": found[0].judging}
    yield "tallies", partial(tallies, reader, **contract)
    yield "in view", partial(in_view, found)
    yield "anomalies", partial(anomalies, reader, found)
    yield "costs", partial(costs, reader, found)
    yield "exposures", partial(queries.exposures, reader, benchmark=BENCHMARK)
    yield "recipes", partial(over_seeds, found, queries.runs(reader))
    yield "trainings", partial(queries.trainings, reader)


def _listen(reader: Engine, answering: list[float]) -> None:
    """Note how many milliseconds each statement takes until its rows, of SQLite one, are here."""

    @event.listens_for(reader, "before_cursor_execute")
    def _before(*arguments: Any) -> None:
        arguments[4].started = time.perf_counter()

    @event.listens_for(reader, "after_cursor_execute")
    def _after(*arguments: Any) -> None:
        answering.append(1000 * (time.perf_counter() - arguments[4].started))


def _timed(name: str, ask: Callable[[], object], times: int, answering: list[float]) -> Timed:
    whole, answered = [], []
    for _ in range(1 + times):
        answering.clear()
        started = time.perf_counter()
        ask()
        whole.append(1000 * (time.perf_counter() - started))
        answered.append(sum(answering))
    return Timed(
        name=name,
        first=whole[0],
        median=median(whole[1:]),
        worst=max(whole[1:]),
        database=median(answered[1:]),
    )


@contextmanager
def _served(address: str) -> Iterator[str]:
    """The pages, served in a process of their own; their address."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "leaderboard" / "asgi.py")]
    command += ["--server.port", str(port), "--server.headless", "true"]
    environment = os.environ | {"CODELADDER_DATABASE_URL": address}
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            _await(f"{url}/_stcore/health", server)
            yield url
        finally:
            server.terminate()
            server.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SystemExit("the pages did not start")


def _told(found: Visits) -> None:
    print(f"first useful paint {_spread(found.paints)} s, the very first {found.first:.2f} s")
    print(f"from the Enter of a search to its rows {_spread(found.filters)} s")
    print(
        f"a visit carries {found.data / 1e6:.2f} MB of the page's own data and "
        f"{found.assets / 1e6:.2f} MB of Streamlit's files",
        flush=True,
    )


def _spread(seconds: tuple[float, ...]) -> str:
    return f"{median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})"


def _figures(queried: list[Timed], visited: Visits | None) -> None:
    slowest = max(queried, key=lambda one: one.database)
    print(f"\nthe database takes longest over: {slowest.name}")
    if visited:
        print(f"figure board_first_paint_s {median(visited.paints):.3f} s")
        print(f"figure board_filter_s {median(visited.filters):.3f} s")
        print(f"figure board_page_mb {visited.data / 1e6:.3f} MB")
    print(f"figure board_slowest_query_ms {slowest.database:.1f} ms")


if __name__ == "__main__":
    if shutil.which("chromium") is None:
        print("Chromium is not installed; the page cannot be measured", file=sys.stderr)
    sys.exit(main())
