"""What a driver tells of itself while it works: that it lives, its machines, how far stages are.

A page that shows this reads the ledger and asks nobody. Nothing of it may end a run: what cannot be
recorded is said, the same reason once, and tried again at the next beat. What others rely on, the
sign of life and the claims, waits for nothing else: it has a thread of its own.
"""

import json
import os
import secrets
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from cluster.nodes import Machine, machines
from database.claims import LostClaimError
from database.clock import moment
from database.live import Driver, Node, Stage
from database.work import DriverFacts, StageFacts
from database.writing import write
from jobs.holding import Claims
from jobs.retry import Retries
from jobs.stopping import Stops

if TYPE_CHECKING:
    from cluster.session import Cluster

ATTEMPT = "CODELADDER_ATTEMPT"
RAY_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Where Ray tells a Ray job of itself."""
LOOK_SECONDS = 2.0
"""Between two looks for wishes to stop; what changed of stages is recorded as often."""
END_SECONDS = 10.0
"""The longest that a driver waits at its end for what is told of it."""
BEAT_SECONDS = 4.0
"""Between two signs of life."""
NODES_EVERY = 2
"""Looks between two looks at machines."""
NODES_AT_LEAST_EVERY = 16
"""Looks between two records of machines where nothing of them changes."""


class Telemetry:
    """Tells of one driver; safe to use from many threads."""

    def __init__(self, ledger: Engine, experiment: str, say: Callable[[str], None]) -> None:
        """Tell a ledger; `say` takes a line on what could not be recorded."""
        since = moment(ledger)
        self.stops = Stops(ledger, since=since)
        self.retries = Retries(ledger, since=since)
        self._ledger = ledger
        self._say = say
        self._said = ""
        self._lock = threading.Lock()
        self._stages: dict[tuple[str, str], StageFacts] = {}
        self._changed: set[tuple[str, str]] = set()
        self._nodes: list[Machine] = []
        self._asking_ray = threading.Lock()
        self._connected = False
        self._looks = 0
        self.claims = Claims(ledger, secrets.token_hex(16))
        self._driver = DriverFacts(
            id=self.claims.driver,
            experiment=experiment,
            host=socket.gethostname(),
            process=os.getpid(),
            cluster="",
            dashboard="",
            started_at=since,
            at=since,
            ended_at=None,
            submission=submission(os.environ),
            attempt=attempt(os.environ),
        )

    @contextmanager
    def on(self, cluster: "Cluster") -> Iterator[None]:
        """Tell of the machines of a cluster, for as long as it is there."""
        self._update(cluster=cluster.address, dashboard=cluster.dashboard_url)
        with self._asking_ray:
            self._connected = True
        try:
            yield
        finally:
            # Who asks Ray after its end starts another cluster.
            free = self._asking_ray.acquire(timeout=END_SECONDS)
            self._connected = False
            if free:
                self._asking_ray.release()

    def stage(
        self,
        run_id: str,
        name: str,
        done: int,
        of: int,
        workers: int = 0,
        found: int | None = None,
    ) -> None:
        """Tell how far a run is with asking or judging; costs nothing.

        Args:
            run_id: which run.
            name: of the stage, as the event that will follow.
            done: completions that are there.
            of: all of them.
            workers: that are at it; 0: as told before.
            found: of `done`, what an earlier driver made; None: as told before, at first all.
        """
        now = datetime.now(UTC)
        with self._lock:
            known = self._stages.get((run_id, name))
            self._stages[run_id, name] = StageFacts(
                run=run_id,
                name=name,
                done=done,
                of=of,
                found=found if found is not None else known.found if known else done,
                workers=workers or (known.workers if known else 0),
                started_at=known.started_at if known else now,
                at=now,
            )
            self._changed.add((run_id, name))

    def look(self) -> None:
        """Look for wishes, and tell what is due; nothing of it raises."""
        self._try(self.stops.look)
        self._try(self.retries.look)
        self._try(self._tell_stages)
        if self._looks % NODES_EVERY == 0:
            self._try(self._tell_nodes)
        self._looks += 1

    def beat(self) -> None:
        """Tell that the driver lives, and renew its claims; nothing of it raises."""
        self._try(self._beat)
        self._try(self.claims.renew)

    def end(self) -> None:
        """Say that the driver ended."""
        self._try(self._tell_stages)
        self._update(ended_at=datetime.now(UTC))
        self._try(self._beat)

    def wished_late(self, runs: Collection[str]) -> list[str]:
        """Say that the driver takes no more wishes; those of `runs` that somebody wished again
        before that was said. Who wishes afterwards sees that nobody heeds it."""
        self._update(ended_at=datetime.now(UTC))
        self._try(self._beat)
        self._try(self.retries.look)
        wished = [run_id for run_id in runs if self.retries.takes(run_id)]
        if wished:
            self._update(ended_at=None)
            self._try(self._beat)
        return wished

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # a run is worth more than what is told of it
            cause = str(getattr(error, "orig", None) or error)
            if cause != self._said:
                self._said = cause
                self._say(f"  what goes on is not fully recorded: {cause}")

    def _update(self, **changes: Any) -> None:
        with self._lock:
            self._driver = replace(self._driver, **changes)

    def _beat(self) -> None:
        self._update(at=datetime.now(UTC))
        told = asdict(self._driver) | {"at": None}  # by the clock of the database
        write(self._ledger, [Driver(**told)], patience=0)  # the next beat comes soon

    def _tell_nodes(self) -> None:
        with self._asking_ray:
            if not self._connected:
                return
            found = machines()
        same = list(map(_counted, found)) == list(map(_counted, self._nodes))
        if same and self._looks % NODES_AT_LEAST_EVERY:
            return
        cluster = self._driver.cluster
        rows = [Node(cluster=cluster, **asdict(one)) for one in found]
        write(self._ledger, rows, patience=0)
        self._nodes = found

    def _tell_stages(self) -> None:
        with self._lock:
            keys, self._changed = self._changed, set()
            changed = [self._stages[key] for key in sorted(keys)]
        own = [stage for stage in changed if not self.claims.is_anothers(stage.run)]
        try:
            for stage in own:
                claim, row = self.claims.of(stage.run), Stage(**asdict(stage))
                with suppress(LostClaimError):
                    write(self._ledger, [row], claim, patience=0)  # the next look comes soon
        except Exception:
            with self._lock:
                self._changed |= keys
            raise


@contextmanager
def telling(ledger: Engine, experiment: str, say: Callable[[str], None]) -> Iterator[Telemetry]:
    """Tell of this driver until the block ends, however it ends."""
    telemetry = Telemetry(ledger, experiment, say)
    telemetry.beat()  # before anything that takes long
    telemetry.look()
    ended = threading.Event()

    def keep(act: Callable[[], None], seconds: float, last: Callable[[], None]) -> None:
        while not ended.wait(seconds):
            act()
        last()

    threads = [
        threading.Thread(target=keep, args=given, daemon=True)
        for given in (
            (telemetry.look, LOOK_SECONDS, telemetry.look),
            (telemetry.beat, BEAT_SECONDS, telemetry.end),
        )
    ]
    for thread in threads:
        thread.start()
    try:
        yield telemetry
    finally:
        ended.set()
        for thread in threads:
            thread.join(END_SECONDS)


def submission(environment: Mapping[str, str]) -> str:
    """Id of the Ray job that this process is; empty: it is none."""
    try:
        told = json.loads(environment.get(RAY_JOB, "{}"))
        return str(told["metadata"]["job_submission_id"])
    except (ValueError, KeyError, TypeError):
        return ""


def attempt(environment: Mapping[str, str]) -> int:
    """Which start of its supervisor this process is; 1 without one."""
    said = environment.get(ATTEMPT, "")
    return int(said) if said.isdigit() and int(said) else 1


def _counted(machine: Machine) -> Machine:
    """A machine without what changes all the time."""
    return replace(machine, memory_used=None)
