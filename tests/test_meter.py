"""What a training costs on this machine: memory, share of the matrix ceiling, energy."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from jobs.training.energy import SAMPLE_SECONDS, Sampled
from jobs.training.meter import CPU_SECONDS, Meter, matrix_ceiling, operations
from jobs.training.resident import Resident

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")
MIB = 2**20


def on_gpu(test):
    """Mark a test that a GPU has to be there for."""
    missing = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
    return pytest.mark.gpu(missing(test))


@pytest.fixture
def meter():
    with Meter("cpu", 1_000_000, "adapter", "fp32") as opened:
        yield opened


def test_a_product_of_matrices_counts_a_multiplication_and_an_addition_for_each_triple():
    """The counter of torch is the oracle."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        torch.mm(torch.rand(48, 48), torch.rand(48, 48))

    assert operations(48) == counter.get_total_flops()


@pytest.mark.parametrize(("weights", "factor"), [("adapter", 4), ("full", 6)])
def test_the_share_is_what_the_model_needs_over_what_the_machine_could_do(weights, factor):
    with Meter("cpu", 25_000_000, weights, "fp32") as meter:
        found = meter.reading(tokens=2048, seconds=0.5)

    needed = factor * 25_000_000 * 2048
    assert found.flops_share == pytest.approx(needed / (meter.ceiling * 0.5))


@pytest.mark.parametrize(("weights", "factor"), [("adapter", 4), ("full", 6)])
def test_a_token_needs_what_torch_counts_in_a_step_of_that_kind(weights, factor):
    """Two layers without attention; the first one needs no gradient of its input."""
    from torch.utils.flop_counter import FlopCounterMode

    layers = torch.nn.Sequential(*(torch.nn.Linear(64, 64, bias=False) for _ in range(3)))
    layers.requires_grad_(weights == "full")
    rows = torch.rand(32, 64, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        layers(rows).sum().backward()

    assert counter.get_total_flops() == factor * 3 * 64 * 64 * 32


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_ceiling_is_near_what_a_large_product_reaches(precision):
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    left = torch.rand(768, 768).to(dtype)
    spent = []
    for _ in range(8):
        before = time.thread_time()  # of one thread, however busy the machine
        left @ left
        spent.append(time.thread_time() - before)
    seen = 2 * 768**3 / min(spent)

    assert seen / 8 < matrix_ceiling(CPU, precision) < 8 * seen


def test_measuring_the_ceiling_takes_a_fraction_of_a_second():
    matrix_ceiling(CPU, "fp32")
    before = time.process_time()
    matrix_ceiling(CPU, "fp32")

    assert time.process_time() - before < 2 * CPU_SECONDS * torch.get_num_threads()


def test_measuring_draws_nothing_from_the_chance_that_training_draws_from():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Meter("cpu", 1, "full").close()

    assert torch.equal(torch.rand(3), expected)


def test_a_reading_takes_less_than_50_microseconds(meter):
    before = time.process_time()
    for _ in range(1000):
        meter.reading(2048, 0.4)

    assert (time.process_time() - before) / 1000 < 50e-6


GROWS = """
from jobs.training.resident import Resident
resident = Resident()
before = resident.peak()
held = bytearray(64 * 2**20)
grown = resident.peak()
del held
print(before, grown, resident.peak())
"""


def test_the_memory_is_the_most_that_was_resident_so_far():
    said = subprocess.run([sys.executable, "-c", GROWS], cwd=ROOT, capture_output=True, check=True)
    before, grown, after = map(int, said.stdout.split())

    assert 60 * MIB < grown - before < 80 * MIB
    assert after > grown - MIB  # the kernel counts in lots


PEAK = "from jobs.training.resident import Resident; print(Resident().peak())"
STARTS = f"""
import subprocess, sys
held = bytearray(2**28)
subprocess.run([sys.executable, "-c", "{PEAK}"], check=True)
"""


def test_the_memory_of_the_process_that_started_this_one_does_not_count():
    alone, started = (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
        for code in (PEAK, STARTS)
    )

    assert int(started.stdout) == pytest.approx(int(alone.stdout), rel=0.05)


def test_where_the_kernel_tells_no_peak_the_usage_of_the_process_is_taken(monkeypatch):
    monkeypatch.setattr("jobs.training.resident.STATUS", "/proc/nowhere")

    assert Resident().peak() > 50 * MIB


def test_processors_tell_no_energy(meter):
    assert meter.reading(2048, 0.4).joules is None


def test_a_step_that_took_no_time_has_no_share(meter):
    assert meter.reading(2048, 0.0).flops_share is None


def test_closing_twice_does_no_harm(meter):
    meter.close()
    meter.close()


class SteadyGpu:
    """A driver that tells 250 W and counts no energy."""

    NVMLError = RuntimeError

    def __init__(self):
        self.open = True

    def nvmlDeviceGetPowerUsage(self, _gpu):  # noqa: N802 (the driver's name)
        return 250_000

    def nvmlShutdown(self):  # noqa: N802
        self.open = False


def test_power_is_added_up_where_a_gpu_counts_no_energy():
    driver = SteadyGpu()
    sampled = Sampled(driver, None)
    before, began = sampled.joules(), time.monotonic()
    time.sleep(6 * SAMPLE_SECONDS)
    spent, joules = time.monotonic() - began, sampled.joules() - before
    sampled.close()

    assert joules == pytest.approx(250 * spent, abs=250 * 2.5 * SAMPLE_SECONDS)
    assert not driver.open


def test_what_is_spent_between_two_steps_is_no_part_of_the_next(monkeypatch):
    driver = SteadyGpu()
    monkeypatch.setattr("jobs.training.meter.energy_of", lambda device: Sampled(driver, None))
    with Meter("cpu", 1, "full") as meter:
        time.sleep(6 * SAMPLE_SECONDS)
        meter.begin()
        began = time.monotonic()
        time.sleep(2 * SAMPLE_SECONDS)
        spent, found = time.monotonic() - began, meter.reading(1, 1.0)

    assert found.joules == pytest.approx(250 * spent, abs=250 * 1.5 * SAMPLE_SECONDS)


@on_gpu
def test_a_gpu_tells_memory_energy_and_a_share_below_one():
    gpu = torch.device("cuda", 0)
    with Meter(gpu, 1_000_000_000, "full") as meter:
        left = torch.randn(4096, 4096, device=gpu, dtype=torch.bfloat16)
        before = time.monotonic()
        for _ in range(200):
            left @ left
        torch.cuda.synchronize()
        seconds = time.monotonic() - before
        found = meter.reading(200 * 2 * 4096**3 // 6_000_000_000, seconds)

    assert 0.2 < found.flops_share < 1.1
    assert found.memory >= 3 * 4096**2 * 2
    if found.joules is not None:
        assert 20 < found.joules / seconds < 1500


@on_gpu
def test_measuring_the_ceiling_of_a_gpu_leaves_its_memory_as_it_was():
    gpu = torch.device("cuda", 0)
    held = torch.zeros(MIB, device=gpu)
    with Meter(gpu, 1, "adapter") as meter:
        assert meter.reading(1, 1.0).memory < 64 * MIB
    assert held.sum() == 0
