"""What stages ask: is this done somewhere, keep it, and have it here."""

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.storage.store import DamagedError, Store, StoreError
from jobs.weights import Weights

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Storage:
    """The driver's folder of work, and the store that has a copy of what is done. Picklable."""

    folder: Path = Path("/")
    """Of the driver, whoever asks."""
    store: Store | None = None
    shared: bool = True
    """Whether all nodes see the folder."""

    @classmethod
    def from_environment(cls, folder: Path) -> "Storage":
        """What `CODELADDER_STORE` names, beside a folder of work.

        Raises:
            UserError: it names no store.
        """
        return cls(folder, Store.from_environment())

    def there(self, path: Path, *beside: Path) -> bool:
        """Whether an outcome is there; one that only the store has is fetched, one that only the
        folder has is put. Damage in the store counts as nothing: the work is done again.

        Args:
            path: below the folder of work; it is done if it exists.
            beside: what belongs to it, and may be missing.

        Raises:
            StoreError: the store does not answer.
        """
        if self.store is None:
            return path.exists()
        if path.exists():
            self._put_missing(self.store, (*beside, path))
            return True
        for one in beside:
            self._fetched(self.store, one)
        return self._fetched(self.store, path)

    def keep(self, *paths: Path) -> None:
        """Put outcomes that have just been done; what a node left in the store is fetched.

        Args:
            paths: the one that says that it is done comes last.

        Raises:
            StoreError: the store does not answer; the outcomes are in the folder all the same.
        """
        for path in paths if self.store else ():
            assert self.store is not None
            if path.exists():
                self.store.put_changed(self.name(path), path)
            else:
                self.store.fetch(self.name(path), path)

    def here(self, path: Path) -> Path:
        """An outcome as this node sees it, fetched where it does not see the driver's folder.

        It then lies under this node's own folder of work (`CODELADDER_HOME`), or at the same path.

        Raises:
            StoreError: the store does not answer, or what it has is damaged.
        """
        if self.store is None or path.exists():
            return path
        mine = self.mine(path)
        with _alone(mine):
            if not mine.exists() and not self._fetch_or_forget(self.store, mine, path):
                raise StoreError(f"{self.store.url} has no {self.name(path)}, nor has this node")
        return mine

    def mine(self, path: Path) -> Path:
        """Where this node has what the driver has at a path, if it does not see that one."""
        own = os.environ.get("CODELADDER_HOME")
        return (Path(own) if own else self.folder) / path.relative_to(self.folder)

    def weights_here(self, weights: Weights) -> Weights:
        """The same weights as this node sees them."""
        if self.store is None:
            return weights
        tuned = weights.tuned and self.here(weights.tuned)
        return replace(weights, tuned=tuned, location=self.base_here(weights.location))

    def base_here(self, location: str) -> str:
        """A base model as this node sees it: a repository of the hub is the same everywhere."""
        path = Path(location)
        if self.store is None or not path.is_absolute() or path.exists():
            return location
        mine = self.mine(self.folder / _base_name(path))
        with _alone(mine):
            if not mine.exists() and not self.store.fetch(_base_name(path), mine):
                raise StoreError(f"{location} is not on this node, and {self.store.url} lacks it")
        return str(mine)

    def keep_base(self, location: str) -> None:
        """Put a base model that is a folder, unless the store has it as it is now."""
        path = Path(location)
        if self.store is not None and path.is_dir():
            self.store.put_changed(_base_name(path), path)

    def name(self, path: Path) -> str:
        """Of an outcome in the store: where it lies below the folder of work."""
        return path.relative_to(self.folder).as_posix()

    def _put_missing(self, store: Store, paths: tuple[Path, ...]) -> None:
        for path in paths:
            if path.exists() and store.manifest(self.name(path)) is None:
                store.put(self.name(path), path)

    def _fetched(self, store: Store, path: Path) -> bool:
        try:
            return self._fetch_or_forget(store, path, path)
        except DamagedError as error:
            _log.warning("%s; it is done again", error)
            return False

    def _fetch_or_forget(self, store: Store, mine: Path, path: Path) -> bool:
        """Fetch; what is damaged is taken away, so that who has it whole puts it again."""
        try:
            return store.fetch(self.name(path), mine)
        except DamagedError:
            with suppress(StoreError):
                store.forget(self.name(path))
            raise


NOWHERE = Storage()
"""No store: what is there is in the folder, which all nodes see."""


def _base_name(path: Path) -> str:
    return f"bases/{path.name}-{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process of this node fetches, and the others find it done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.fetching").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
