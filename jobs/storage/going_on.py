"""A training whose workers do not see the driver's disk, and one that moves to other machines.

The store says which start of its workers was begun last, as the folder of the run does
(`jobs.training.fence`): earlier ones put nothing there any more. Not promised: that nothing gets
through which was on its way to the store when the next start was noted there.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.storage.keeping import Storage
from jobs.storage.store import Store, StoreError
from jobs.training.checkpoints import newest
from jobs.training.fence import OWNER, SupersededError
from jobs.training.order import ORDER, TrainOrder

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GoingOn:
    """One training as one worker sees it, with the store that its checkpoints are put into."""

    order: TrainOrder
    """As the driver wrote it."""
    storage: Storage
    start: str = ""
    """Of the workers, see `Fence.start`; empty: none was begun, and nobody is kept out."""

    @property
    def shared(self) -> bool:
        """Whether this node sees the driver's folder: the driver left the order there."""
        return self.storage.store is None or (self.order.folder / ORDER).exists()

    def hand_over(self, start: str) -> None:
        """Let the workers of the next start alone put anything, from here on.

        Raises:
            SupersededError: others have begun one since this one.
            StoreError: the store does not answer.
        """
        if self.storage.store is not None:
            self.require()
            self.storage.store.note(self._owner, start)

    def require(self) -> None:
        """Nothing, unless the store says that another start was begun since.

        Raises:
            SupersededError: one was.
            StoreError: the store does not answer.
        """
        if self.storage.store is None or not self.start:
            return
        owner = self.storage.store.noted(self._owner)
        if owner not in ("", self.start):
            raise SupersededError(
                f"the training of run {self.order.run_id} was started again, as {owner}; this "
                f"start of it, {self.start}, ends"
            )

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
        """Put a checkpoint in the place of the one before; a store that is away ends nothing.

        Raises:
            SupersededError: another start was begun since; its checkpoint stays.
        """
        if self.storage.store is None:
            return
        try:
            self.storage.store.put(self.storage.name(self.order.attempts), path, self.require)
        except (StoreError, OSError) as error:
            _log.warning("%s is on this node alone until the next one: %s", path.name, error)

    def end(self, order: TrainOrder) -> None:
        """Put the outcome where the driver sees it, if that is not its own folder.

        Raises:
            SupersededError: another start was begun since; its outcome stays.
            StoreError: the store does not answer.
        """
        if self.storage.store is not None and not self.shared:
            name = self.storage.name(self.order.checkpoint)
            self.storage.store.put(name, order.checkpoint, self.require)

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

    @property
    def _owner(self) -> str:
        return self.storage.name(self.order.folder / OWNER)

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
