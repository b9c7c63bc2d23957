"""Rows and progress on their way from remote workers to the driver."""

from dataclasses import dataclass
from typing import Any, Self

from cluster.ending import beside_caller

ANSWER_SECONDS = 10.0
"""For a box to give what is in it; one that takes longer is frozen."""


class _Box:
    """Lives in a process of its own, so that a sender never waits for the driver."""

    def __init__(self) -> None:
        self._messages: list[Any] = []

    def put(self, messages: tuple[Any, ...]) -> None:
        self._messages.extend(messages)

    def drain(self) -> list[Any]:
        taken, self._messages = self._messages, []
        return taken


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A box that many put into and the driver empties. Picklable: pass it to workers.

    Messages of one sender keep their order. What was sent and not yet drained is lost when the
    driver ends, so nothing that matters may exist in a message only.
    """

    actor: Any

    @classmethod
    def create(cls) -> Self:
        """An empty box on the node of this process, for as long as the process lives.

        Where the box's own process is killed, Ray makes another one; what was in it is lost.
        """
        import ray

        return cls(ray.remote(max_restarts=-1, **beside_caller())(_Box).remote())

    def put(self, *messages: Any) -> None:
        """Send, and do not wait. One call costs the same whatever the number of messages."""
        if messages:
            self.actor.put.remote(messages)

    def drain(self) -> list[Any]:
        """Everything that arrived since the last call; nothing while the box is made again.

        What a box gives only after `ANSWER_SECONDS` is lost.
        """
        import ray

        try:
            return list(ray.get(self.actor.drain.remote(), timeout=ANSWER_SECONDS))
        except (ray.exceptions.ActorUnavailableError, ray.exceptions.GetTimeoutError):
            return []
