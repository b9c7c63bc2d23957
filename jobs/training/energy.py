"""The energy that a GPU has taken, by NVIDIA's management library where it is installed."""

import threading
import time
from contextlib import suppress
from typing import Any, Protocol

import torch

SAMPLE_SECONDS = 0.1
"""Between two looks at the power of a GPU that does not count its energy."""


class Energy(Protocol):
    """A meter of one GPU."""

    def joules(self) -> float | None:
        """Since some moment in the past; None: the driver does not tell."""

    def close(self) -> None:
        """Let go of the driver."""


def energy_of(device: torch.device) -> Energy | None:
    """A meter of the GPU; None for processors, or where nothing measures it.

    The GPU's own counter where it has one (Volta and later), else its power, looked at ten times a
    second.
    """
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    with suppress(pynvml.NVMLError):
        gpu = _handle(pynvml, device)
        with suppress(pynvml.NVMLError):
            pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)
            return Counted(pynvml, gpu)
        pynvml.nvmlDeviceGetPowerUsage(gpu)
        return Sampled(pynvml, gpu)
    pynvml.nvmlShutdown()
    return None


def _handle(pynvml: Any, device: torch.device) -> Any:
    """By its own name: its number is another one where CUDA_VISIBLE_DEVICES hides some."""
    identity = str(torch.cuda.get_device_properties(device).uuid)
    return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{identity.removeprefix('GPU-')}")


class Counted:
    """A GPU that counts its energy itself."""

    def __init__(self, pynvml: Any, gpu: Any) -> None:
        self._pynvml, self._gpu = pynvml, gpu

    def joules(self) -> float | None:
        """Since the driver was loaded."""
        with suppress(self._pynvml.NVMLError):
            return float(self._pynvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu)) / 1000
        return None

    def close(self) -> None:
        """Let go of the driver."""
        self._pynvml.nvmlShutdown()


class Sampled:
    """A GPU that tells its power only; a thread adds it up."""

    def __init__(self, pynvml: Any, gpu: Any) -> None:
        self._pynvml, self._gpu = pynvml, gpu
        self._joules = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def joules(self) -> float | None:
        """Since this was made."""
        return self._joules

    def close(self) -> None:
        """End the thread, and let go of the driver."""
        self._ended.set()
        self._thread.join()
        self._pynvml.nvmlShutdown()

    def _watch(self) -> None:
        seen = time.monotonic()
        while not self._ended.wait(SAMPLE_SECONDS):
            with suppress(self._pynvml.NVMLError):
                watts = self._pynvml.nvmlDeviceGetPowerUsage(self._gpu) / 1000
                before, seen = seen, time.monotonic()
                self._joules += watts * (seen - before)
