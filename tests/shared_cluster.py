"""A Ray cluster that several drivers join, with GPUs that only Ray counts, and drivers on it."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from free_ports import free_port

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 60.0


@dataclass(slots=True)
class SharedCluster:
    """A head with processors and GPUs; ends with its block, and all its drivers with it."""

    gpus: int = 3
    cpus: int = 6
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="cl-", dir="/tmp")))
    address: str = ""
    _head: subprocess.Popen | None = None
    _drivers: list[subprocess.Popen] = field(default_factory=list)

    def __enter__(self):
        token = self.folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        command += ["--port", str(port), "--node-ip-address", "127.0.0.1"]
        command += ["--num-gpus", str(self.gpus), "--num-cpus", str(self.cpus)]
        command += ["--include-dashboard=false", "--object-store-memory", "200000000"]
        command += ["--temp-dir", str(self.folder / "ray")]
        with (self.folder / "head.log").open("w") as log:
            self._head = subprocess.Popen(
                command,
                env=self._environment(),
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_for_head(port)
        return self

    def __exit__(self, *_):
        for driver in self._drivers:
            if driver.poll() is None:
                driver.send_signal(signal.SIGCONT)
                driver.kill()
                driver.wait()
        self._head.terminate()
        try:
            self._head.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._head.pid, signal.SIGKILL)
            self._head.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def driver(self, home, experiment):
        """Begin `python -m jobs run`; its output goes to a file in the home."""
        home.mkdir(parents=True, exist_ok=True)
        joins = {"RAY_ADDRESS": self.address, "CODELADDER_HOME": str(home)}
        with (home / f"{experiment.stem}.out").open("a") as out:
            driver = subprocess.Popen(
                [sys.executable, "-m", "jobs", "run", str(experiment)],
                env=self._environment() | joins,
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self._drivers.append(driver)
        return driver

    def _environment(self):
        return os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        }

    def _wait_for_head(self, port):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "Ray runtime started" not in (self.folder / "head.log").read_text():
            assert self._head.poll() is None, (self.folder / "head.log").read_text()
            assert time.monotonic() < deadline, "the head did not start in time"
            time.sleep(0.2)
