"""LoRA layers that compute as their base does.

peft casts the input of an adapter to float32 and computes there, so an adapter of rank 16 costs as
much time and memory as the frozen layer beside it. Here the adapter is cast to the base's dtype
instead, as autocast would; what is trained stays float32, and so do its gradients.
"""

from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn
from torch.nn.functional import linear

# T tokens, I inputs, O outputs, R rank


class LoraFunction(torch.autograd.Function):
    """y = x W^T + b + s (x A^T) B^T, with gradients of x, A and B only (Hu et al. 2021, eq. 3)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_OI: Tensor,
        bias_O: Tensor | None,
        a_RI: Tensor,
        b_OR: Tensor,
        scaling: float,
    ) -> Tensor:
        """Inputs [..., I] give outputs [..., O], in the dtype of the inputs."""
        a_RI, b_OR = a_RI.to(x.dtype), b_OR.to(x.dtype)
        y = linear(x, weight_OI)
        if bias_O is not None:
            y += bias_O
        x_TI = x.reshape(-1, x.shape[-1])
        low_TR = x_TI @ a_RI.T
        y.view(-1, y.shape[-1]).addmm_(low_TR, b_OR.T, alpha=scaling)
        ctx.scaling = scaling
        ctx.save_for_backward(x_TI, low_TR, weight_OI, a_RI, b_OR)
        return y

    @staticmethod
    def backward(ctx: Any, by_y: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients, those of A and B in float32."""
        x_TI, low_TR, weight_OI, a_RI, b_OR = ctx.saved_tensors
        by_y_TO = by_y.reshape(-1, by_y.shape[-1])
        by_low_TR = (by_y_TO @ b_OR) * ctx.scaling
        by_a_RI = (by_low_TR.T @ x_TI).float()
        by_b_OR = (low_TR.T @ by_y_TO).float().T * ctx.scaling
        by_x = None
        if ctx.needs_input_grad[0]:
            by_x = by_y @ weight_OI
            by_x.view(-1, by_x.shape[-1]).addmm_(by_low_TR, a_RI)
        return by_x, None, None, by_a_RI, by_b_OR, None


_lora: Callable[..., Any] = LoraFunction.apply


class LoraLinear(Linear):  # type: ignore[misc]
    """peft's layer in all but its forward pass; its tensors have the same names."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """As peft's; outputs are in the dtype of the base."""
        if self.disable_adapters or self.merged or args or kwargs or len(self.active_adapters) != 1:
            found: Tensor = super().forward(x, *args, **kwargs)
            return found
        name = self.active_adapters[0]
        base, a, b = self.base_layer, self.lora_A[name], self.lora_B[name]
        drops = not isinstance(self.lora_dropout[name], nn.Identity)
        if drops or _partitioned(a) or torch.compiler.is_compiling():
            return self._by_modules(x, name)
        x = x.to(base.weight.dtype)
        result: Tensor = _lora(x, base.weight, base.bias, a.weight, b.weight, self.scaling[name])
        return result

    def _by_modules(self, x: Tensor, name: str) -> Tensor:
        """Where inputs are dropped, weights gathered first, or a compiler finds the gradient."""
        base: Tensor = self.base_layer(x)
        with torch.autocast(x.device.type, base.dtype, enabled=base.dtype != torch.float32):
            dropped = self.lora_dropout[name](x)
            update: Tensor = self.lora_B[name](self.lora_A[name](dropped))
        result: Tensor = base + update * self.scaling[name]
        return result


def quicken(model: nn.Module) -> int:
    """Give LoRA layers of a peft model the forward pass above, where it does the same.

    Left as they are: DoRA and other variants, biases of adapters, several adapters, bases that are
    quantized, trained, or not linear.

    Returns:
        How many layers were changed.
    """
    layers = [module for module in model.modules() if type(module) is Linear and _fits(module)]
    for layer in layers:
        layer.__class__ = LoraLinear
    return len(layers)


def _fits(layer: Any) -> bool:
    base = layer.base_layer
    return (
        isinstance(base, nn.Linear)
        and base.weight.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and not base.weight.requires_grad
        and len(layer.lora_A) == 1
        and not layer.lora_variant
        and not any(layer.lora_bias.values())
        and all(weight.dtype == torch.float32 for weight in layer.lora_A.parameters())
    )


def _partitioned(module: Any) -> bool:
    """Whether DeepSpeed gathers the weight in hooks of its module, as ZeRO-3 does."""
    return hasattr(module.weight, "ds_id")
