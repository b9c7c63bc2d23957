"""A training whose workers do not see the driver's disk, and one that moves to other machines."""

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.storage.keeping import Storage
from jobs.storage.store import Store, StoreError
from jobs.training.checkpoints import newest
from jobs.training.order import ORDER, TrainOrder

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GoingOn:
    """One training as one worker sees it, with the store that its checkpoints are put into."""

    order: TrainOrder
    """As the driver wrote it."""
    storage: Storage

    @property
    def shared(self) -> bool:
        """Whether this node sees the driver's folder: the driver left the order there."""
        return self.storage.store is None or (self.order.folder / ORDER).exists()

    def begin(self) -> TrainOrder:
        """The order as this node can carry it out, its rows and newest checkpoint fetched.

        Raises:
            StoreError: the store does not answer, or lacks the rows.
        """
        order = self.order
        if not self.shared:
            rows = self.storage.here(order.rows.parent) / order.rows.name
            base = self.storage.base_here(order.location)
            order = replace(order, rows=rows, location=base, folder=self.storage.mine(order.folder))
        if self.storage.store is not None:
            self._fetch_newest(self.storage.store, order)
        return order

    def saved(self, path: Path) -> None:
        """Put a checkpoint in the place of the one before; a store that is away ends nothing."""
        if self.storage.store is None:
            return
        try:
            self.storage.store.put(self.storage.name(self.order.attempts), path)
        except (StoreError, OSError) as error:
            _log.warning("%s is on this node alone until the next one: %s", path.name, error)

    def end(self, order: TrainOrder) -> None:
        """Put the outcome where the driver sees it, if that is not its own folder.

        Raises:
            StoreError: the store does not answer.
        """
        if self.storage.store is not None and not self.shared:
            self.storage.store.put(self.storage.name(self.order.checkpoint), order.checkpoint)

    def reached(self) -> int:
        """Step of the newest checkpoint that the driver can know of; 0: there is none."""
        here = newest(self.order.attempts)
        if self.storage.store is None:
            return here
        try:
            return max(here, _step(self.storage.store, self.storage.name(self.order.attempts)))
        except StoreError:
            return here

    def forget(self) -> None:
        """Take its checkpoints out of the store: the training is done."""
        if self.storage.store is not None:
            with suppress(StoreError):  # they cost room, and nothing else
                self.storage.store.forget(self.storage.name(self.order.attempts))

    def _fetch_newest(self, store: Store, order: TrainOrder) -> None:
        name = self.storage.name(self.order.attempts)
        step = _step(store, name)
        if step <= newest(order.attempts) or order.checkpoint.exists():
            return
        try:
            store.fetch(name, order.attempts / f"step-{step:08}")
        except StoreError as error:
            _log.warning("the training goes on from an earlier checkpoint: %s", error)


def _step(store: Store, name: str) -> int:
    manifest = store.manifest(name)
    number = manifest.title.removeprefix("step-") if manifest else ""
    return int(number) if number.isdigit() else 0
