"""Where work lands: one folder, every path in it named here."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.data.folder import DataFolder
from jobs.declared import UserError
from jobs.recipes import ROOT


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of all work, `CODELADDER_HOME` or `runs/`."""

    folder: Path

    @classmethod
    def from_environment(cls) -> "Home":
        """The home that this process works in, made if it is not there."""
        folder = Path(os.environ.get("CODELADDER_HOME") or ROOT / "runs").resolve()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{folder} cannot be the folder of work (CODELADDER_HOME): {error.strerror}"
            ) from None
        return cls(folder)

    def data(self, digest: str) -> DataFolder:
        """A prepared dataset; runs on the same data share it."""
        return DataFolder(self.folder / "data" / digest)

    def run(self, run_id: str) -> Path:
        """The folder of one run: checkpoint/, completions/ and verdicts/."""
        return self.folder / run_id

    def completions(self, run_id: str, benchmark: str, asking: str) -> Path:
        """A run's answers to one benchmark under one asking contract."""
        return self.run(run_id) / "completions" / f"{benchmark}-{asking}.jsonl"

    def verdicts(self, run_id: str, benchmark: str, asking: str, judging: str) -> Path:
        """The verdicts on those answers under one judging contract."""
        return self.run(run_id) / "verdicts" / f"{benchmark}-{asking}-{judging}.jsonl"

    @contextmanager
    def driver(self, *, alone: bool) -> Iterator[None]:
        """Hold the right to run experiments here; the lock goes with the process, however it ends.

        Args:
            alone: with a cluster of its own; drivers of one cluster that they share, whose runs are
                claimed in the ledger, work beside each other.

        Raises:
            UserError: another process holds it, or one that would have to be alone.
        """
        path = self.folder / "driver.lock"
        with path.open("a+") as file:
            try:
                fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise UserError(
                    f"{self.folder}: process {file.read().strip() or '?'} already runs an "
                    "experiment here; wait for it, stop it, or set CODELADDER_HOME. Several run "
                    "beside each other on a cluster that RAY_ADDRESS names to all of them"
                ) from None
            if alone:
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
            yield


@contextmanager
def written(path: Path, *, first: bool = False) -> Iterator[Path]:
    """A temporary path to write; it takes its real name when the block ends without an error.

    A path that exists is therefore a stage that is done, whenever the process was killed. Several
    threads may write the same content at once.

    Args:
        path: the real name, of a file.
        first: what is there already stays: a driver that was replaced may finish its stage late,
            and what its successor has recorded must not change.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield temporary
        if first:
            _place(temporary, path)
        else:
            temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def _place(temporary: Path, path: Path) -> None:
    """Give a file its name, unless there is one of that name."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return
    except OSError:  # a disk without hard links
        if not path.exists():
            temporary.rename(path)
