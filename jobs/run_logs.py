"""What happened to each run, line by line: `log.txt` in its folder, for people.

The ledger has the same facts; this has the words, the tracebacks of what failed among them. No
secret gets in: the values of variables that hold one, and logins in addresses, become stars.
"""

import os
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from jobs.home import Home

LOG = "log.txt"
BYTES_AT_MOST = 2**20
"""Of one log; of a longer one the second half is kept."""
_SECRET = re.compile(
    r"TOKEN|KEY|SECRET|PASS(?!ED)|CREDENTIAL|COOKIE|_PWD$|_AUTH$|CONNECTION_STRING|_DSN$",
    re.IGNORECASE,
)
"""In the name of a variable of the environment whose value nobody may read."""
_NAMES_A_FILE = ("PATH", "FILE", "DIR")
_SHORTEST = 8
"""Characters of a value that is taken for a secret: `1` would star half the log."""
_LOGIN = re.compile(r"(://)[^\s/]+@")
_IN_ADDRESS = re.compile(r"(password=)[^\s&'\"]+", re.IGNORECASE)


class RunLogs:
    """The logs of all runs of one home; safe to use from many threads."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lock = threading.Lock()

    def say(self, run_id: str, text: str) -> None:
        """Add a line, or several, with the time; a disk that takes none ends nothing."""
        path = self._home.run(run_id) / LOG
        line = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {without_secrets(text.strip())}\n"
        with self._lock:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a", encoding="utf-8", errors="replace") as file:
                    file.write(line)
                _cut(path)
            except OSError:
                return


def without_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """The text with stars for every secret of the environment, and for logins and passwords in
    addresses."""
    variables = os.environ if environment is None else environment
    found = {
        value
        for name, value in variables.items()
        if _SECRET.search(name) and not name.endswith(_NAMES_A_FILE) and len(value) >= _SHORTEST
    }
    for value in sorted(found, key=len, reverse=True):  # one may begin with another
        text = text.replace(value, "***")
    return _IN_ADDRESS.sub(r"\1***", _LOGIN.sub(r"\1***@", text))


def tail(path: Path, lines: int) -> str:
    """The last lines of a log.

    Raises:
        FileNotFoundError: there is none.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - BYTES_AT_MOST))
        text = file.read().decode("utf-8", errors="replace")
    return "".join(text.splitlines(keepends=True)[-lines:]) if lines else ""


def _cut(path: Path) -> None:
    if path.stat().st_size <= BYTES_AT_MOST:
        return
    kept = path.read_bytes()[-BYTES_AT_MOST // 2 :].partition(b"\n")[2]
    draft = path.with_name(f".{LOG}")
    draft.write_bytes(b"... what is older is not kept\n" + kept)
    draft.replace(path)
