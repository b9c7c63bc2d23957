"""A small experiment on a Ray cluster of `ray_nodes`: begun, watched, and what it leaves behind."""

import hashlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from namespaces import ROOT, Machine
from plain_machines import PlainMachine
from psutil import NoSuchProcess
from ray_nodes import RayNodes
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from benchmarks.private_postgres import Server

STEPS = 48
CHECKPOINT_EVERY = 8
PATIENCE_SECONDS = 420.0
SMALL = f"""
description: A training of two workers, answers and verdicts, under faults
models:
  starter-falcon: {{path: models/starter/falcon, parallelism: {{strategy: ddp, workers: 2}}}}
datasets: [smoke]
methods:
  lora-r8: {{kind: lora, rank: 8, alpha: 16, learning_rate: 4.0e-3, steps: {STEPS}, batch_size: 8,
            max_length: 256, precision: fp32, checkpoint_every: {CHECKPOINT_EVERY}}}
benchmarks:
  starter: {{problems: 12, completions: 4, temperature: 0.2, max_new_tokens: 48, report: [1, 2]}}
seeds: [1]
baseline: false
"""
SAME = {
    "runs": "id, label, state",
    "steps": "run, step, loss, learning_rate, tokens",
    "completions": "id, run, benchmark, task_id, position, text, tokens, finish",
    "verdicts": "completion, judging, outcome",
    "scores": "run, benchmark, metric, value, low, high, problems, completions",
    "tallies": "run, benchmark, task_id, completions, passed",
}
"""What of the ledger is the same however the work went: times and places are not."""
_STEP = re.compile(r"step (\d+) of \d+")


@dataclass(frozen=True, slots=True)
class Left:
    """What an experiment leaves behind, as far as it must not depend on what happened."""

    weights: dict[str, str]
    """sha256 of each file of weights, by run."""
    rows: dict[str, list[tuple[object, ...]]]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a run's log or of the driver's output, and when it was seen."""

    at: float
    text: str


@dataclass(slots=True)
class Trial:
    """One experiment on a cluster; its driver runs on a machine of its own."""

    nodes: RayNodes
    driver: Machine | PlainMachine
    name: str
    text: str = SMALL
    """The experiment, as YAML."""
    server: Server | None = None
    """The PostgreSQL that the ledger is in; None: it is a file of the driver's machine."""
    kept: bool = False
    """Whether `python -m cluster keep` starts the driver, and again where it is ended."""
    lines: list[Line] = field(default_factory=list)
    trained: dict[tuple[str, int], set[float]] = field(default_factory=lambda: defaultdict(set))
    """Seconds that each step of a run took. A training that goes on tells old steps again, with
    the seconds that they took then; one that is trained again takes others."""
    process: subprocess.Popen[str] | None = None
    drivers: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def home(self) -> Path:
        """On the shared folder, as machines see it."""
        return self.nodes.network.shared / self.name

    @property
    def seen(self) -> Path:
        """The same, as this process sees it."""
        return self.nodes.network.seen / self.name

    @property
    def disk(self) -> Path:
        """The home on the disk behind the shared folder, which nobody can hide."""
        return self.nodes.network.folder / "disk" / self.name

    @property
    def ledger(self) -> str:
        """Its address."""
        if self.server is not None:
            return self.server.url
        return f"sqlite:///{self.nodes.network.folder / self.name}.db"

    def begin(self) -> None:
        """Start a driver, or start it again."""
        file = self.nodes.network.folder / f"{self.name}.yaml"
        file.write_text(self.text)
        self.drivers += 1
        keeper = [sys.executable, "-m", "cluster", "keep", "--"] if self.kept else []
        self.process = self.driver.spawn(
            [*keeper, sys.executable, "-m", "jobs", "run", str(file)],
            self.output,
            {
                "RAY_ADDRESS": self.nodes.address,
                "CODELADDER_HOME": str(self.home),
                "CODELADDER_DATABASE_URL": self.ledger,
                "PYTHONPATH": str(ROOT),
                "COLUMNS": "200",
            },
        )
        if self.drivers == 1:
            threading.Thread(target=self._watch, daemon=True).start()
            threading.Thread(target=self._count, daemon=True).start()

    @property
    def output(self) -> Path:
        """What the driver prints."""
        return self.nodes.network.folder / f"{self.name}.out"

    @property
    def was_over(self) -> bool:
        """Whether a later driver found everything recorded: the former was lost too late."""
        return self.drivers > 1 and "Nothing to do: all" in self.output.read_text()

    def _watch(self) -> None:
        """Note each new line of the run's log with the time it was seen."""
        read: dict[Path, int] = {}
        while not self._over.wait(0.05):
            for path in (*self.seen.glob("*/log.txt"),):
                try:
                    text = path.read_text(errors="replace")
                except OSError:
                    continue
                now, start = time.monotonic(), read.get(path, 0)
                whole = text[start:].rpartition("\n")[0]
                read[path] = start + len(whole) + bool(whole)
                self.lines += [Line(now, line) for line in whole.splitlines()]

    def _count(self) -> None:
        """Note how long each step took, whenever the ledger can be asked."""
        while not self._over.wait(0.5):
            with suppress(DBAPIError):
                for run, step, seconds in self._select("select run, step, seconds from steps"):
                    self.trained[run, step].add(seconds)

    def until(self, text: str, since: float = 0.0, seconds: float = PATIENCE_SECONDS) -> Line:
        """The first line with this text (a regular expression) after a time."""
        wanted = re.compile(text)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = (one for one in list(self.lines) if one.at > since and wanted.search(one.text))
            if line := next(found, None):
                return line
            if self.process is not None and self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"waited in vain for {text!r}: {self.said()}")

    def said(self) -> str:
        """The end of what the driver and the runs said."""
        out = self.output.read_text()[-3000:] if self.output.exists() else ""
        return out + "\n" + "\n".join(line.text for line in self.lines[-30:])

    def until_step(self, step: int, since: float = 0.0) -> Line:
        """The first word of a step that is no earlier than this one."""
        return self._when(lambda line: step_of(line) >= step, f"step {step}", since)

    def _when(self, true: Callable[[Line], bool], what: str, since: float) -> Line:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if line := next((x for x in list(self.lines) if x.at > since and true(x)), None):
                return line
            time.sleep(0.02)
        raise AssertionError(f"waited in vain for {what}: {self.said()}")

    def end(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for the driver; its exit status."""
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the driver does not end: {self.said()}") from None

    def succeed(self) -> None:
        """Wait for the driver, which ends well."""
        status = self.end()
        assert status == 0, f"the driver ended with {status}\n{self.said()}"

    def settle(self) -> None:
        """Let what was said be read."""
        time.sleep(1)

    def kill_driver(self) -> None:
        """End the driver as a power cut would."""
        for process in self.driver.processes("-m jobs run", self.name):
            process.send_signal(signal.SIGKILL)
        self.end()

    def left(self) -> Left:
        """What is there at the end; times and places left out."""
        self._over.set()
        weights = {
            str(path.relative_to(self.seen)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.seen.glob("*/checkpoint/**/*.safetensors")
        }
        rows = {
            table: sorted(self._select(f"select {columns} from {table}"))
            for table, columns in SAME.items()
        }
        return Left(weights=weights, rows=rows)

    def events(self) -> list[tuple[str, str]]:
        """Kind and message of all that the board tells of the runs, in order."""
        return self._select("select kind, message from events order by at")

    def _select(self, query: str) -> list[tuple]:
        # "rw" makes no ledger where the driver has none yet.
        there = f"sqlite:///file:{self.ledger.removeprefix('sqlite:///')}?mode=rw&uri=true"
        served = self.ledger.replace("postgresql:", "postgresql+psycopg:")
        engine = create_engine(served if self.server else there)
        with engine.connect() as ledger:
            rows = [tuple(row) for row in ledger.execute(text(query))]
        engine.dispose()
        return rows

    def forget(self) -> None:
        """Make room for the next one; a driver that still works, and its keeper, end."""
        self._over.set()
        for process in self.driver.processes(f"{self.name}.yaml"):
            with suppress(NoSuchProcess):
                process.kill()
        shutil.rmtree(self.seen, ignore_errors=True)


def step_of(line: Line) -> int:
    """The step that a line tells of; 0: none."""
    found = _STEP.search(line.text)
    return int(found[1]) if found else 0
