"""One host over SSH: commands, files, and plain words for what goes wrong."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.acting import CommandError, Hands
from cluster.declared import Hosts
from cluster.session import ClusterError

CONNECT_SECONDS = 10
REASONS = {
    "could not resolve hostname": "no host of this name is known here",
    "no route to host": "there is no route to it; is it on, and in this network?",
    "network is unreachable": "there is no route to it; is it on, and in this network?",
    "connection timed out": "it does not answer; is it on, and does a firewall let SSH through?",
    "connection refused": "no SSH server answers at that port",
    "permission denied": "it refuses the key; ssh-copy-id puts yours there",
    "host key verification failed": "its host key is not known here or another than before; "
    "look at it once by hand: ssh",
    "remote host identification has changed": "its host key is another than before; find out why",
    "no such identity": "the file of the key is not there",
}
"""What ssh says, in lower case, and what that means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host of a cluster file."""

    name: str
    declared: Hosts
    hands: Hands

    def run(self, script: str, given: str | bytes = b"", seconds: float = 600) -> str:
        """Run a shell script there and return what it printed.

        Raises:
            ClusterError: why the host cannot be reached, or what the script said.
        """
        try:
            return self.hands.run(self._ssh(script), given, seconds)
        except CommandError as error:
            raise ClusterError(f"{self.name}: {reason(error)}") from None

    def write(self, path: str, text: str) -> None:
        """Write a file there that only its owner reads."""
        folder = shlex.quote(str(Path(path).parent))
        quoted = shlex.quote(path)
        self.run(
            f"umask 077; mkdir -p {folder} && cat > {quoted}.new && mv {quoted}.new {quoted}", text
        )

    def _ssh(self, script: str) -> Sequence[str]:
        declared = self.declared
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(CONNECT_SECONDS),
            "ServerAliveInterval": "15",
            "Port": str(declared.ssh_port),
        }
        words = [f"-o{name}={value}" for name, value in options.items()]
        words += [f"-i{Path(declared.key).expanduser()}"] if declared.key else []
        words += [f"-F{Path(declared.ssh_options).expanduser()}"] if declared.ssh_options else []
        target = f"{declared.user}@{self.name}" if declared.user else self.name
        return ["ssh", *words, target, f"sh -c {shlex.quote(script)}"]


def reason(error: CommandError) -> str:
    """Why a command over SSH failed, in plain words where they are known."""
    said = error.said.strip()
    if error.status == 255:
        low = said.lower()
        known = next((words for key, words in REASONS.items() if key in low), "")
        return f"{known} ({_last(said)})" if known else _last(said)
    return said or f"status {error.status}"


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "ssh said nothing"
