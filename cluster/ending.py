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


class TerminatedError(SystemExit):
    """Somebody told this process to end (SIGTERM): what it does is to stop, and nothing failed."""


Lost = Callable[[str], None]
"""Takes what was lost and what is done about it, in words, from any thread."""


def never() -> bool:
    """Work that is wanted to its end."""
    return False


def unheard(text: str) -> None:
    """Nobody wants to hear what was lost."""


def beside_caller() -> dict[str, Any]:
    """Options of Ray's that place a task or actor on the node that this process runs on.

    What a driver cannot do without is then lost with the driver, or not at all.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    return {
        "num_cpus": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False),
    }


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


def how_lost(error: Exception) -> str:
    """What became of an actor, in words, from what Ray says; empty: it was not lost."""
    from ray.exceptions import ActorUnavailableError, RayActorError

    if isinstance(error, ActorUnavailableError):
        return "cannot be reached"
    if isinstance(error, RayActorError) and error.actor_init_failed:
        return f"could not be set up ({str(error).strip().splitlines()[-1]})"
    if isinstance(error, RayActorError):
        return "was lost with its node" if "node has died" in str(error) else "was killed"
    return ""
