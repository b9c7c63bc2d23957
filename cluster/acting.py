"""What bringing a cluster up does to the world: commands and files, or, dry, only the telling."""

import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.session import ClusterError

FORTNIGHT = 14 * 24 * 3600.0
"""To wait for work; poll(2) counts milliseconds, and ends at 24 days."""


class CommandError(ClusterError):
    """A command failed or is not there; the message is what it said."""

    def __init__(self, command: Sequence[str], said: str, status: int | None = None) -> None:
        super().__init__(f"{shlex.join(command)}: {said.strip() or f'status {status}'}")
        self.said = said
        self.status = status


@dataclass(frozen=True, slots=True)
class Hands:
    """Runs commands and writes files, or only says which and what."""

    dry: bool = False
    say: Callable[[str], None] = print

    def run(self, command: Sequence[str], given: str | bytes = b"", seconds: float = 600) -> str:
        """Run a command to its end; what it printed, or nothing where this is dry.

        Raises:
            CommandError: it is not there, failed, or took longer than `seconds`.
        """
        if self.dry:
            self.say(f"run    {shlex.join(command)}")
            return ""
        return run(command, given, seconds)

    def show(self, command: Sequence[str]) -> int:
        """Run a command that speaks to the user by itself; its exit status."""
        if self.dry:
            self.say(f"run    {shlex.join(command)}")
            return 0
        try:
            return subprocess.run(command, check=False).returncode
        except FileNotFoundError:
            raise CommandError(command, f"{command[0]} is not installed here") from None

    def write(self, path: Path, text: str, *, secret: bool = False) -> None:
        """Write a file, with its folder; a secret one is its owner's alone, and never shown."""
        if self.dry:
            self.say(f"write  {path}" + (", mode 600" if secret else f":\n{_indented(text)}"))
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
        with open(os.open(draft, flags, 0o600 if secret else 0o644), "w") as file:  # noqa: PTH123
            file.write(text)
        draft.replace(path)


def run(command: Sequence[str], given: str | bytes = b"", seconds: float = 600) -> str:
    """Run a command to its end and return what it printed.

    Raises:
        CommandError: it is not there, failed, or took longer than `seconds`.
    """
    sent = given.encode() if isinstance(given, str) else given
    try:
        done = subprocess.run(
            command, input=sent, capture_output=True, timeout=seconds, check=False
        )
    except FileNotFoundError:
        raise CommandError(command, f"{command[0]} is not installed here") from None
    except subprocess.TimeoutExpired:
        raise CommandError(command, f"did not end within {seconds:.0f} s") from None
    output = done.stdout.decode(errors="replace")
    if done.returncode:
        said = done.stderr.decode(errors="replace") or output
        raise CommandError(command, said, done.returncode)
    return output


def _indented(text: str) -> str:
    return "".join(f"       | {line}\n" for line in text.splitlines()).rstrip("\n")
