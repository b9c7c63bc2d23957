"""An experiment sent to a standing cluster as a Ray job, under a name of its own."""

import itertools
import logging
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cluster.acting import Hands
from cluster.places.place import Submission
from cluster.ports import Ports
from cluster.ray_start import DRIVER
from cluster.session import NOT_UPLOADED, ROOT, ClusterError, running
from cluster.standing import resources

GONE = 1
"""Exit status of `--wait` where the Ray job ended and its driver never told one."""
RESUBMISSIONS = 1
"""Times that `--wait` sends an experiment again whose driver was lost with its node."""
LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 300.0
"""For a dashboard that does not answer, such as while its head is started again."""
LOG_BYTES = 100_000
"""Each look fetches all that was printed so far: a second more between two for so many bytes."""
UNKNOWN = "status code 404"
"""Told where a head that started again knows nothing of a Ray job."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def submit_to_recorded(home: Path, submission: Submission, hands: Hands) -> int:
    """Send an experiment to the cluster that is recorded under a home; as `submit_to`.

    Raises:
        ClusterError: no cluster is up, and as `submit_to`.
    """
    found = running(home)
    if found is None:
        raise ClusterError(
            f"no cluster is up in {home}. Bring one up first: make cluster-up CLUSTER=..."
        )
    return submit_to(found["dashboard_url"], Path(found["token_path"]), submission, hands)


def submit_to(url: str, token: Path, submission: Submission, hands: Hands) -> int:
    """Send an experiment to the cluster whose dashboard is at `url`.

    Returns:
        0 once it is sent; with `wait`, what its driver ended with.

    Raises:
        ClusterError: the cluster does not answer, the experiment has mistakes, or a Ray job of
            that name is there.
    """
    checked(submission.experiment)
    command = entrypoint(submission)
    if hands.dry:
        hands.say(f"send   {submission.name} to {url}:\n       | {command}")
        return 0
    metadata = _metadata(submission)
    where = _where(resources(url, token))
    with _speaking(url, token) as client:
        return _send(client, submission, command, metadata, where, hands)


def dashboard_at(address: str) -> str:
    """The dashboard of the cluster whose control store is at HOST:PORT, where ours started it.

    Raises:
        ClusterError: it is no such address.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(f"--at {address!r}: HOST:PORT of a control store")
    return f"http://{host}:{Ports(int(port)).dashboard}"


def checked(experiment: Path) -> None:
    """Have `jobs plan` check an experiment.

    Raises:
        ClusterError: it has mistakes; the message tells all of them.
    """
    plan = subprocess.run(
        [sys.executable, "-m", "jobs", "plan", str(experiment.resolve())],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if plan.returncode:
        raise ClusterError(plan.stderr.strip() or plan.stdout.strip())


def entrypoint(submission: Submission) -> str:
    """The command of the Ray job: the driver, kept alive."""
    experiment = submission.experiment.resolve()
    try:
        path = experiment.relative_to(ROOT)
    except ValueError:
        raise ClusterError(
            f"{experiment} is not inside {ROOT}, so the cluster would not have it; "
            "copy it into experiments/"
        ) from None
    kept = ["python", "-m", "cluster", "keep", "--restarts", str(submission.restarts), "--"]
    return shlex.join([*kept, "python", "-m", "jobs", "run", str(path)])


def name_of(experiment: Path, given: str) -> str:
    """What a Ray job is called: as the user says, else after the experiment and the time.

    Raises:
        ClusterError: the name has characters that an address could not carry.
    """
    name = given or f"{experiment.stem}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    if not NAME.fullmatch(name):
        raise ClusterError(f"--name {name!r}: letters, digits, '-', '_' and '.', at most 100")
    return name


def _where(there: Mapping[str, float]) -> dict[str, float] | None:
    """What a driver takes, so that it is kept off a head that does no work.

    Raises:
        ClusterError: such a head is all there is yet.
    """
    if there.get(DRIVER):
        return {DRIVER: 1.0}
    if not there.get("CPU"):
        raise ClusterError("no node that works is up yet; `status` shows them when they come")
    return None  # others brought this cluster up


def _metadata(submission: Submission) -> dict[str, str]:
    """Shown on the Ray dashboard beside the job; never a secret."""
    board = os.environ.get("CODELADDER_BOARD_URL", "")
    told = {"experiment": submission.experiment.stem}
    return told | ({"board": board} if board else {})


@contextmanager
def _speaking(url: str, token: Path) -> Iterator[Any]:
    before = dict(os.environ)
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    os.environ.pop("RAY_ADDRESS", None)
    try:
        from ray.job_submission import JobSubmissionClient

        logging.getLogger("ray").setLevel(logging.ERROR)  # it tells of every file left out
        yield JobSubmissionClient(url)
    except (RuntimeError, OSError) as error:  # requests has errors of the latter kind
        raise ClusterError(f"{url}: {error}") from None
    finally:
        os.environ.clear()
        os.environ.update(before)


def _send(
    client: Any,
    submission: Submission,
    command: str,
    metadata: dict[str, str],
    where: dict[str, float] | None,
    hands: Hands,
) -> int:
    for _ in range(RESUBMISSIONS + 1):
        name, there = _free_name(client, submission.name)
        if not there:
            _put(
                client,
                entrypoint=command,
                submission_id=name,
                metadata=metadata,
                runtime_env={"working_dir": str(ROOT), "excludes": NOT_UPLOADED},
                entrypoint_resources=where,
            )
        told = f"{name} is at work already" if there else f"sent {name}"
        hands.say(f"{told}: {client.get_address()}/#/jobs/{name}")
        if not submission.wait:
            return 0
        status = _follow(client, name, hands)
        if status is not None:
            return status
        hands.say(f"{name} was lost with its node")
    return GONE


def _free_name(client: Any, name: str) -> tuple[str, bool]:
    """The name to send an experiment under, and whether a Ray job of that name is at work: then it
    was sent before. Where that one was lost with its node the name gets the next number.

    Raises:
        ClusterError: a Ray job of that name is over.
    """
    for number in itertools.count(1):
        numbered = name if number == 1 else f"{name}-{number}"
        try:
            known = client.get_job_info(numbered)
        except RuntimeError as error:
            if UNKNOWN in str(error):
                return numbered, False
            raise
        if not known.status.is_terminal():
            return numbered, True
        if known.driver_exit_code is not None or known.status == "STOPPED":
            raise ClusterError(
                f"a Ray job {numbered} is over ({known.status}): choose another --name, or none"
            )
    raise AssertionError("numbers do not end")


def _put(client: Any, **job: Any) -> None:
    """Send a Ray job; where the answer is lost on the way, ask whether it is there."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            client.submit_job(**job)
            return
        except OSError:  # of requests: nobody can say whether it was heard
            if time.monotonic() > deadline:
                raise
        time.sleep(LOOK_SECONDS)
        with suppress(OSError, RuntimeError):
            client.get_job_info(job["submission_id"])
            return


def _follow(client: Any, name: str, hands: Hands) -> int | None:
    """Show what a Ray job prints until it ends; its driver's status, None where none was told."""
    shown, answered = 0, time.monotonic()
    while True:
        try:
            told = client.get_job_info(name)
            printed = client.get_job_logs(name)
        except (OSError, RuntimeError) as error:  # requests has errors of the former kind
            if UNKNOWN in str(error):
                return None
            if time.monotonic() - answered > PATIENCE_SECONDS:
                raise ClusterError(
                    f"the cluster has not answered for {PATIENCE_SECONDS:.0f} s, and {name} may go "
                    f"on without us: {error}"
                ) from None
            time.sleep(LOOK_SECONDS)
            continue
        answered = time.monotonic()
        if len(printed) > shown:
            hands.say(printed[shown:].rstrip("\n"))
            shown = len(printed)
        if told.status.is_terminal():
            break
        time.sleep(LOOK_SECONDS + len(printed) / LOG_BYTES)
    if told.driver_exit_code is not None:
        return int(told.driver_exit_code)
    if told.status == "STOPPED":
        return 128 + 15
    hands.say(told.message or "")
    return None
