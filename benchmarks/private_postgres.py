"""A PostgreSQL of our own, on a socket in a folder that is removed at the end."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

QUICK = (
    "-c listen_addresses='' -c fsync=off -c full_page_writes=off -c autovacuum=off "
    "-c max_wal_size=8GB -c maintenance_work_mem=512MB"
)
"""How rows are made quickly; what reading depends on is left as PostgreSQL comes."""
DURABLE = "-c listen_addresses=''"
"""As PostgreSQL comes: what was committed survives its death."""


class MissingPostgresError(Exception):
    """PostgreSQL is not installed here."""


class Server:
    """One server, that can be started, killed and frozen."""

    def __init__(self, folder: Path, options: str) -> None:
        self._folder = folder
        self._pg_ctl = [_tool("pg_ctl"), "-D", str(folder / "data")]
        self._options = f"-k {folder} {options}"
        self.url = f"postgresql://ledger@/postgres?host={folder}"

    def start(self, seconds: float = 60) -> None:
        """Start it, and wait until it answers; after a kill the memory it shared goes first."""
        given_up = time.monotonic() + seconds
        log = str(self._folder / "log")
        while True:
            try:
                _run([*self._pg_ctl, "-l", log, "-o", self._options, "-w", "start"], self._folder)
                return
            except subprocess.CalledProcessError:
                if time.monotonic() > given_up:
                    raise
                time.sleep(0.5)

    def stop(self) -> None:
        """Stop it at once, as an administrator does."""
        _run([*self._pg_ctl, "-m", "immediate", "stop"], self._folder)

    def kill(self) -> None:
        """Kill -9 every process of it."""
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it answer nobody, while all connections stay."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        first = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        tasks = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for process in (first, *map(int, tasks)):
            try:
                os.kill(process, number)
            except ProcessLookupError:
                continue


@contextmanager
def private_server(options: str = DURABLE) -> Iterator[Server]:
    """Start a server with a database that is empty, and stop it at the end.

    Raises:
        MissingPostgresError: it is not installed.
    """
    initdb = _tool("initdb")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path must stay short
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        _run([initdb, "-D", str(folder / "data"), "-U", "ledger", "-A", "trust", "-N"], folder)
        server = Server(folder, options)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def private_postgres() -> Iterator[str]:
    """Start a server that is quick and forgets, and stop it at the end; its address.

    Raises:
        MissingPostgresError: it is not installed.
    """
    with private_server(QUICK) as server:
        yield server.url


def _tool(name: str) -> str:
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(installed[-1]) if installed else None)
    if found is None:
        raise MissingPostgresError(f"PostgreSQL is not installed: no {name}")
    return found


def _run(command: Sequence[str], folder: Path) -> None:
    """PostgreSQL refuses to run as root; it then runs as `postgres`."""
    if os.geteuid() == 0:
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        command = [*user, *command]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
