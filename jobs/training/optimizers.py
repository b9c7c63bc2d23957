"""AdamW over what is trained, in groups that learn at rates of their own."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jobs.training import models
from jobs.training.order import TrainingError
from jobs.training.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

STATE = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW keeps for each tensor."""


class StateError(TrainingError):
    """An optimizer's state is of other weights, or of another worker."""


def adamw(model: Any, settings: Settings) -> Any:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101); `set_rate` comes before a step.

    The matrices B of adapters learn `lora_plus` times as fast (Hayou et al. 2024,
    arXiv:2402.12354). Weight decay spares what is no matrix: norms, biases, and DoRA's lengths.
    """
    from torch.optim import AdamW

    plus = settings.adapter.lora_plus if settings.adapter else 1.0
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in models.trained(model):
        times = plus if "lora_B" in name or "lora_embedding_B" in name else 1.0
        matrix = len(models.shape_of(parameter)) > 1
        decay = settings.weight_decay if matrix else 0.0
        groups.setdefault((times, decay), []).append(parameter)
    return AdamW(
        [
            {"params": parameters, "weight_decay": decay, "times": times}
            for (times, decay), parameters in groups.items()
        ],
        lr=0.0,
        fused=True,
    )


def set_rate(optimizer: Any, learning_rate: float) -> None:
    """Of every group, in proportion."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["times"]


def state_of(optimizer: Any, masters: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Moments and step counters, on the host, each under its master's name and its own."""
    return {
        f"{name}.{key}": value.detach().to("cpu", copy=True).contiguous()
        for name, master in masters.items()
        for key, value in optimizer.state.get(master, {}).items()
    }


def load_state(
    optimizer: Any, masters: "Mapping[str, Tensor]", state: "Mapping[str, Tensor]"
) -> None:
    """Put moments and step counters back.

    Raises:
        StateError: they are not those of these masters.
    """
    left = set(state)
    for name, master in masters.items():
        own = {key: state[f"{name}.{key}"] for key in STATE if f"{name}.{key}" in state}
        shapes = [value.shape for key, value in own.items() if key != "step"]
        if own and shapes != [master.shape, master.shape]:
            raise StateError(
                f"the optimizer's state of {name} is {[list(shape) for shape in shapes]}, "
                f"and would be {list(master.shape)} twice"
            )
        if own:
            optimizer.state[master] = {
                key: value.to(master.device, copy=True) for key, value in own.items()
            }
        left -= {f"{name}.{key}" for key in own}
    if left:
        raise StateError(f"the optimizer's state is of other weights, such as {min(left)}")
