"""A PostgreSQL of our own, on a socket in a folder that is removed at the end."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_OPTIONS = (
    "-c listen_addresses='' -c fsync=off -c full_page_writes=off -c autovacuum=off "
    "-c max_wal_size=8GB -c maintenance_work_mem=512MB"
)
"""How rows are made quickly; what reading depends on is left as PostgreSQL comes."""


class MissingPostgresError(Exception):
    """PostgreSQL is not installed here."""


@contextmanager
def private_postgres() -> Iterator[str]:
    """Start a server and stop it at the end; its address, with a database that is empty.

    Raises:
        MissingPostgresError: it is not installed.
    """
    initdb, pg_ctl = _tool("initdb"), _tool("pg_ctl")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path must stay short
    data = str(folder / "data")
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        _run([initdb, "-D", data, "-U", "ledger", "-A", "trust", "-N"], folder)
        started = ["-l", str(folder / "log"), "-o", f"-k {folder} {_OPTIONS}", "-w", "start"]
        _run([pg_ctl, "-D", data, *started], folder)
        try:
            yield f"postgresql://ledger@/postgres?host={folder}"
        finally:
            _run([pg_ctl, "-D", data, "-m", "immediate", "stop"], folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
