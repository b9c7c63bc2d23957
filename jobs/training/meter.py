"""What a training costs on one worker: memory, its share of what the machine could do, energy.

A `Meter` measures the ceiling of its machine once, then tells a `Reading` for every step. Nothing
here stops the device or talks to other workers; a reading takes some microseconds.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Self

import torch

from jobs.training.energy import energy_of
from jobs.training.resident import Resident

FLOPS_PER_TOKEN = {"adapter": 4, "full": 6}
"""Floating-point operations that one token needs for each parameter: 2 forwards, 2 for the
gradient of the activations, and 2 for that of the weights, which a frozen weight does not have
(Kaplan et al. 2020, arXiv:2001.08361, section 2.1; Chowdhery et al. 2022, arXiv:2204.02311,
appendix B, defines MFU by it). Attention over the tokens themselves is left out, as there."""
GPU_SIDE = 8192
CPU_SIDES = (256, 512, 1024, 2048)
CPU_SECONDS = 0.25
"""To measure the ceiling of processors in; the largest matrices that fit into it are the best."""
REPEATS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One worker's part of one step."""

    memory: int
    """Bytes, the most so far: what torch had allocated on a GPU, else resident in this process."""
    flops_share: float | None
    """Of the measured matrix ceiling, over these seconds; None where one of them is not known."""
    joules: float | None
    """Of this worker's GPU since the step began; None where nothing measures it."""


class Meter:
    """Measures one worker. Close it, or use it in a `with` block."""

    def __init__(
        self,
        device: torch.device | str,
        parameters: int,
        weights: Literal["adapter", "full"],
        precision: Literal["bf16", "fp32"] = "bf16",
    ) -> None:
        """Measure the ceiling: a fraction of a second on processors and on a GPU.

        Call it once the model is on its device, so that it finds room beside it.

        Args:
            device: where the model computes.
            parameters: of the whole model without adapters, on all workers together.
            weights: what is trained, which decides the operations a token needs.
            precision: what matrices are multiplied in; a 4-bit base is multiplied in bf16.
        """
        self.device = torch.device(device)
        self._gpu = self.device.type == "cuda"
        self._before = torch.cuda.max_memory_allocated(self.device) if self._gpu else 0
        self.ceiling = matrix_ceiling(self.device, precision)
        """Floating-point operations a second."""
        self._flops_per_token = FLOPS_PER_TOKEN[weights] * parameters
        self._resident = None if self._gpu else Resident()
        self._energy = energy_of(self.device)
        self._joules = self._energy.joules() if self._energy else None

    def begin(self) -> None:
        """A step begins: what was measured or saved since the last one is no part of it."""
        self._joules = self._energy.joules() if self._energy else None

    def reading(self, tokens: int, seconds: float) -> Reading:
        """What a step cost this worker.

        Args:
            tokens: of this worker's share of the batch, padding not counted.
            seconds: wall-clock time it took.
        """
        return Reading(
            memory=self._memory(),
            flops_share=self._share(tokens, seconds),
            joules=self._since(),
        )

    def close(self) -> None:
        """Let go of the driver; may be called twice."""
        if self._energy:
            self._energy.close()
            self._energy = None
        if self._resident:
            self._resident.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _memory(self) -> int:
        if self._resident:
            return self._resident.peak()
        # max_memory_allocated would flatten and sort some hundred numbers first
        known = torch.cuda.memory_stats_as_nested_dict(self.device)
        return max(self._before, int(known["allocated_bytes"]["all"]["peak"]))

    def _share(self, tokens: int, seconds: float) -> float | None:
        if seconds <= 0 or not self.ceiling:
            return None
        return self._flops_per_token * tokens / seconds / self.ceiling

    def _since(self) -> float | None:
        before, self._joules = self._joules, self._energy.joules() if self._energy else None
        return None if before is None or self._joules is None else self._joules - before


def matrix_ceiling(device: torch.device, precision: Literal["bf16", "fp32"]) -> float:
    """Floating-point operations a second of square matrix products, the best of several.

    On processors with the threads that torch has in this process, while other workers on the same
    machine may measure too: what one of them can have, not what the machine has. On a GPU fp32 is
    as fast as `torch.set_float32_matmul_precision` lets it be.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with torch.no_grad():
        return _gpu_ceiling(device, dtype) if device.type == "cuda" else _cpu_ceiling(dtype)


def _cpu_ceiling(dtype: torch.dtype) -> float:
    started, best = time.perf_counter(), 0.0
    for side in CPU_SIDES:
        left, right, out = _matrices(side, torch.device("cpu"), dtype)
        for _ in range(1 + REPEATS):  # the first one prepares its kernel
            before = time.perf_counter()
            torch.mm(left, right, out=out)
            spent = time.perf_counter() - before
            best = max(best, operations(side) / spent)
        if time.perf_counter() - started + 8 * REPEATS * spent > CPU_SECONDS:
            break
    return best


def _gpu_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """By the GPU's own clock; smaller matrices where there is no room for large ones."""
    best = 0.0
    for side in (GPU_SIDE, GPU_SIDE // 2, GPU_SIDE // 4):
        with suppress(torch.OutOfMemoryError):
            best = max(_gpu_rates(side, device, dtype))
            break
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return best


def _gpu_rates(side: int, device: torch.device, dtype: torch.dtype) -> list[float]:
    left, right, out = _matrices(side, device, dtype)
    marks = [
        torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        for _ in range(2 + REPEATS)
    ]
    with torch.cuda.device(device):
        for mark in marks:
            mark.record()
            torch.mm(left, right, out=out)
        torch.cuda.synchronize(device)
    spans = [one.elapsed_time(other) / 1000 for one, other in pairwise(marks)]
    return [operations(side) / span for span in spans[1:]]  # the first one prepares its kernel


def operations(side: int) -> int:
    """Of the product of two square matrices: a multiplication and an addition for each triple."""
    return 2 * side**3


def _matrices(
    side: int, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two factors and room for their product. Random, since a GPU is faster with plain zeros."""
    chance = torch.Generator(device).manual_seed(0)  # one of its own: training draws from torch's
    left = torch.randn(side, side, generator=chance, device=device, dtype=dtype)
    return left, left.t().contiguous(), torch.empty_like(left)
