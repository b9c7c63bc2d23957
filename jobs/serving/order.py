"""A question on its way to a model."""

from dataclasses import dataclass

from jobs.experiment import Asking
from jobs.shelf import Servable

SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A question put to a model. Picklable."""

    model: Servable
    text: str = ""
    """What the model goes on with; empty where there are `turns`."""
    turns: tuple[tuple[str, str], ...] = ()
    """A conversation in the model's own chat template instead: role and words of each turn, the
    user's last."""
    begun: str = ""
    """How the answer begins, where there are `turns`: said for the model, no part of the answer."""
    asking: Asking
    stop: tuple[str, ...]
    seed: int
    seconds: float = SECONDS
    """The longest that the answer is written after its first token; then it ends where it is."""
