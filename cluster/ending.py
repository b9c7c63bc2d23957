"""Ending work that nobody wants any more, before it is done."""

from collections.abc import Callable
from typing import Any

LOOK_SECONDS = 0.5
"""How often what waits asks whether it is still wanted."""
LINGER_SECONDS = 10.0
"""For a process that was told to end."""

Unwanted = Callable[[], bool]
"""Tells whether work is to end; asked about every `LOOK_SECONDS`, from any thread."""


class UnwantedError(Exception):
    """The work was ended because nobody wants it any more: it did not fail."""


def never() -> bool:
    """Work that is wanted to its end."""
    return False


def outcome(reference: Any, unwanted: Unwanted) -> Any:
    """Wait for a task of Ray's; where it is not wanted any more, end its process.

    Raises:
        UnwantedError: it was ended; its process is gone, or did not go within `LINGER_SECONDS`.
        Exception: what the task raised, as Ray wraps it.
    """
    import ray

    while not ray.wait([reference], timeout=LOOK_SECONDS)[0]:
        if unwanted():
            ray.cancel(reference, force=True)
            ray.wait([reference], timeout=LINGER_SECONDS)
            raise UnwantedError
    return ray.get(reference)
