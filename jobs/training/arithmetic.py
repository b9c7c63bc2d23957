"""What a machine can compute in."""

from functools import cache

import torch

IN_HARDWARE = ("amx_bf16", "amx_tile", "avx512_bf16", "bf16", "sve_bf16")
"""Capabilities of a CPU, by torch's names for them, any of which multiplies bfloat16 matrices."""


@cache
def bf16_pays() -> bool:
    """Whether matrices in bfloat16 are multiplied faster than in float32, by a GPU or this CPU.

    A CPU without instructions for them emulates them, at a fifth of the speed of float32 (measured
    on AVX-512 without AMX); weights in bfloat16 are then better held as float32, which changes none
    of them.
    """
    if torch.cuda.is_available():
        return True
    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in IN_HARDWARE)
