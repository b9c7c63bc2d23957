"""How well the scheduler fills a cluster: `make bench-cluster`, in under twenty minutes.

1. A thousand simulated runs on 64 nodes of 8 GPUs, the line alone: how much longer all of it takes
   than it must (all work shared evenly, or the longest run alone), and the slowest decision.
2. Twelve simulated runs of 1, 2 and 3 GPUs on 3, in 20 random orders: the same, and how long the
   widest wait beside the longest run before them.
3. Twelve real runs on a real Ray cluster that believes it has 3 GPUs: how many of these Ray itself
   counts as taken, from the first to the last use, and why the others were not: nothing could use
   them, or they were given to a run whose processes did not have them yet, or no more.

Ends with the figures that other tools read.
"""

import argparse
import heapq
import itertools
import json
import os
import random
import re
import resource
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cluster.line import Line, Request

ROOT = Path(__file__).resolve().parent.parent
GPUS = 3
SEEDS = 5
ORDERS = 20
SAMPLE_SECONDS = 0.5
START_SECONDS = 60.0
LONGEST_SECONDS = 3000.0
BEGINS = re.compile(r"^(.{19}) (training|proving|generating \S+) begins$", re.MULTILINE)
"""What is done on GPUs, in the log of a run."""
EXPERIMENT = """
description: Twelve trainings of one, two and three workers
models:
  one: {path: models/starter/falcon, parallelism: {strategy: ddp, workers: 1}}
  two: {path: models/starter/mistral, parallelism: {strategy: ddp, workers: 2}}
  three: {path: models/starter/llama, parallelism: {strategy: ddp, workers: 3}}
datasets: [smoke]
methods:
  lora: {kind: lora, rank: 4, learning_rate: 4.0e-3, steps: %(steps)s, batch_size: 12,
         max_length: 256, precision: fp32, checkpoint_every: 100}
benchmarks:
  starter: {problems: 24, completions: 2, temperature: 0.2, max_new_tokens: 48, report: [1]}
seeds: %(seeds)s
baseline: false
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """Work of some slots for some seconds."""

    width: int
    seconds: float


@dataclass(frozen=True, slots=True, order=True)
class Longest:
    """A decision, and whether the time that it took was its own."""

    wall: float
    """Seconds."""
    processor: float
    """Seconds of these in which it had a processor."""
    interrupted: int
    """Times that the kernel gave its processor to another process."""


@dataclass(slots=True)
class Simulated:
    """What came of a simulation."""

    end: float = 0.0
    decisions: list[float] = field(default_factory=list)
    """Seconds that each took of a processor: what else the machine did meanwhile is not in it."""
    longest: Longest = Longest(0.0, 0.0, 0)
    """The one that took longest on the clock of the wall."""
    started: dict[tuple[int, int], float] = field(default_factory=dict)
    """When each stage of each run began."""
    taken: float = 0.0
    """Slots times seconds."""


def simulate(runs: Sequence[Sequence[Stage]], total: int, ranks: Mapping[int, float]) -> Simulated:
    """Carry out runs, each one stage after the other, in the order of a line and of its rank."""
    line, done = Line({"": total}), Simulated()
    ends: list[tuple[float, int, int]] = []

    def ask(run: int, stage: int) -> None:
        width = runs[run][stage].width
        wanted = Request(count=width, least=width, rank=ranks[run])
        line.ask((run, stage), wanted, done.end)

    for run in range(len(runs)):
        ask(run, 0)
    while True:
        before, began, wall = _interruptions(), time.thread_time(), time.perf_counter()
        begun = line.decide()
        took, lasted = time.thread_time() - began, time.perf_counter() - wall
        done.decisions.append(took)
        done.longest = max(done.longest, Longest(lasted, took, _interruptions() - before))
        for run, stage in begun:  # type: ignore[misc]  # our keys are pairs
            work = runs[run][stage]
            done.started[run, stage] = done.end
            done.taken += work.width * work.seconds
            heapq.heappush(ends, (done.end + work.seconds, run, stage))
        if not ends:
            return done
        done.end, run, stage = heapq.heappop(ends)
        line.leave((run, stage))
        if stage + 1 < len(runs[run]):
            ask(run, stage + 1)


def _interruptions() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


def bound(runs: Sequence[Sequence[Stage]], total: int) -> float:
    """No scheduler needs less."""
    area = sum(stage.width * stage.seconds for run in runs for stage in run) / total
    return max(area, max(sum(stage.seconds for stage in run) for run in runs))


def longest_first(runs: Sequence[Sequence[Stage]]) -> dict[int, float]:
    """The ranks that a driver gives: by the time that a run takes in all."""
    return {n: -sum(stage.seconds for stage in run) for n, run in enumerate(runs)}


def drawn(numbers: random.Random, widths: Sequence[int]) -> list[Stage]:
    """A training of up to ten hours, a proof, and a generation of a part of that."""
    hours = numbers.uniform(1, 10)
    generation = Stage(1, hours * numbers.uniform(0.1, 0.5))
    return [Stage(numbers.choice(widths), hours), Stage(1, 0.05), generation]


def large() -> tuple[float, float]:
    """A thousand runs on 512 GPUs: the worst of several draws, and the slowest decision in ms."""
    ratios, slowest = [], []
    for seed in range(SEEDS):
        numbers = random.Random(seed)
        runs = [drawn(numbers, [1, 1, 1, 2, 2, 4, 8, 8]) for _ in range(1000)]
        done = simulate(runs, 512, longest_first(runs))
        ratios.append(done.end / bound(runs, 512))
        slowest.append(1000 * max(done.decisions))
        print(
            f"  seed {seed}: {done.end:.1f} h, bound {bound(runs, 512):.1f} h, ratio "
            f"{ratios[-1]:.3f}; decisions: median {1000 * statistics.median(done.decisions):.2f} "
            f"ms, slowest {slowest[-1]:.2f} ms of a processor; by the clock "
            f"{1000 * done.longest.wall:.2f} ms, {1000 * done.longest.processor:.2f} of them of a "
            f"processor, taken away {done.longest.interrupted} times"
        )
    return max(ratios), max(slowest)


def small() -> tuple[float, float]:
    """Twelve runs on three GPUs in random orders: the least busy share, and the longest wait of a
    gang of three in units of the longest stage that began before it."""
    shares, waits = [], []
    for seed in range(ORDERS):
        numbers = random.Random(seed)
        runs = [[Stage(width, numbers.uniform(1, 5))] for width in (1, 2, 3) * 4]
        for run in runs:
            run += [Stage(1, 0.3), Stage(1, numbers.uniform(0.5, 2))]
        numbers.shuffle(runs)
        done = simulate(runs, GPUS, longest_first(runs))
        assert len(done.started) == 36, f"order {seed}: not everything began"
        shares.append(done.taken / (GPUS * done.end))
        waits.append(max(_waits(runs, done)))
    print(
        f"  {ORDERS} random orders: all of the 12 runs ended; busy at least {min(shares):.3f}, "
        f"median {statistics.median(shares):.3f}; a gang of three waited at most {max(waits):.2f} "
        "times the longest stage that began before it"
    )
    return min(shares), max(waits)


def _waits(runs: Sequence[Sequence[Stage]], done: Simulated) -> Iterator[float]:
    """Of each gang of three: from the last start before its own, beside the longest work then."""
    for (run, stage), at in done.started.items():
        if runs[run][stage].width == GPUS:
            before = {key: when for key, when in done.started.items() if when < at}
            if before:
                longest = max(runs[n][s].seconds for n, s in before)
                yield (at - max(before.values())) / longest
            else:
                yield 0.0


@contextmanager
def ray_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """A Ray cluster that believes it has GPUs; the variables with which one joins it."""
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += ["--port", str(port), "--node-ip-address", "127.0.0.1", "--num-cpus", str(2 * GPUS)]
    command += [
        "--num-gpus",
        str(GPUS),
        "--include-dashboard=false",
        "--temp-dir",
        str(folder / "r"),
    ]
    log = folder / "head.log"
    with log.open("w") as out:
        head = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in log.read_text():
            if head.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"Ray did not start: {log.read_text()}")
            time.sleep(0.2)
        yield environment | {"RAY_ADDRESS": f"127.0.0.1:{port}"}
    finally:
        head.terminate()
        head.wait(60)


SAMPLER = f"""
import sys, time
from pathlib import Path
from cluster.broker import GPUS, NAME, NAMESPACE
from cluster.session import connect

def given(actor):
    return sum(held.count for held in actor._desk._lines[GPUS].holdings)

with connect(Path(sys.argv[1])), open(sys.argv[2], "w", buffering=1) as samples:
    import ray
    while True:
        taken = {GPUS} - ray.available_resources().get("GPU", 0.0)
        try:
            held = ray.get(ray.get_actor(NAME, NAMESPACE).__ray_call__.remote(given), timeout=10)
        except (ValueError, ray.exceptions.RayError):  # no driver yet, or no more
            held = 0
        print(time.time(), taken, held, file=samples)
        time.sleep({SAMPLE_SECONDS})
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """GPUs at one moment, in seconds since the epoch."""

    at: float
    taken: float
    """By processes, as Ray counts."""
    given: float
    """By our line, to runs."""


def real(steps: int, seeds: int) -> float:
    """Three real runs a seed: the share of the GPUs that Ray counts as taken."""
    with tempfile.TemporaryDirectory(prefix="cl-", dir="/tmp") as name:
        folder = Path(name)
        path, home, beside = folder / "twelve.yaml", folder / "home", folder / "sampler"
        beside.mkdir()
        told = folder / "samples"  # Ray prints what it likes
        path.write_text(EXPERIMENT % {"steps": steps, "seeds": list(range(seeds))})
        with ray_cluster(folder) as environment:
            sampler = subprocess.Popen(
                [sys.executable, "-c", SAMPLER, str(beside), str(told)],
                env=environment,
                cwd=ROOT,
            )
            began = time.monotonic()
            driver = subprocess.run(
                [sys.executable, "-m", "jobs", "run", str(path)],
                env=environment | {"CODELADDER_HOME": str(home)},
                cwd=ROOT,
                check=False,
                timeout=LONGEST_SECONDS,
            )
            sampler.terminate()
            sampler.wait(60)
            samples = [Sample(*map(float, line.split())) for line in told.read_text().splitlines()]
        if driver.returncode != 0:
            raise SystemExit(f"the experiment ended with {driver.returncode}")
        share = busy_share(samples)
        _show_idle(samples)
        _show_starts(home)
        print(f"  {3 * seeds} real runs in {time.monotonic() - began:.0f} s, GPUs busy {share:.3f}")
    return share


def busy_share(samples: Sequence[Sample]) -> float:
    """Of the time from the first use of a GPU to the last, each sample worth the time up to the
    next."""
    spans = _spans(samples)
    return sum(sample.taken * seconds for sample, seconds in spans) / (
        GPUS * sum(seconds for _, seconds in spans)
    )


def _spans(samples: Sequence[Sample]) -> list[tuple[Sample, float]]:
    """Those from the first use of a GPU to the last, and for how many seconds each holds."""
    used = [place for place, sample in enumerate(samples) if sample.taken > 0]
    span = samples[used[0] : used[-1] + 2]
    return [(sample, after.at - sample.at) for sample, after in itertools.pairwise(span)]


def _show_idle(samples: Sequence[Sample]) -> None:
    """How long how many GPUs were taken, and why others were not."""
    spans = _spans(samples)
    seconds = dict.fromkeys(range(GPUS + 1), 0.0)
    for sample, lasted in spans:
        seconds[round(sample.taken)] += lasted
    told = ", ".join(f"{gpus} for {lasted:.0f} s" for gpus, lasted in seconds.items())
    late = sum(max(0.0, sample.given - sample.taken) * lasted for sample, lasted in spans)
    left = sum((GPUS - max(sample.given, sample.taken)) * lasted for sample, lasted in spans)
    print(f"  GPUs taken: {told}")
    print(
        f"  of the idle time, in GPU-seconds: {late:.0f} given to a run whose processes began or "
        f"ended, {left:.0f} given to none"
    )


def _show_starts(home: Path) -> None:
    """When each training began, in seconds after the first, and how long the widest waited."""
    runs, done = _carried_out(home)
    trainings = sorted((done.started[run, 0], stages[0].width) for run, stages in enumerate(runs))
    first = trainings[0][0]
    told = ", ".join(f"{width} at {at - first:.0f} s" for at, width in trainings)
    print(f"  trainings by width: {told}")
    print(
        f"  a gang of three waited at most {max(_waits(runs, done)):.2f} times the longest stage "
        "that began before it"
    )


def _carried_out(home: Path) -> tuple[list[list[Stage]], Simulated]:
    """What real runs did on GPUs, by their logs."""
    runs, done = [], Simulated()
    for run, log in enumerate(home.glob("*/log.txt")):
        text = log.read_text()
        order = json.loads((log.parent / "order.json").read_text())
        stages: list[Stage] = []
        for at, name in BEGINS.findall(text):
            took = re.search(rf"^.{{19}} {re.escape(name)} done in (\d+) s", text, re.MULTILINE)
            assert took, f"{log}: {name} did not end"
            done.started[run, len(stages)] = time.mktime(time.strptime(at, "%Y-%m-%d %H:%M:%S"))
            width = order["spread"]["ranks"] if name == "training" else 1
            stages.append(Stage(width, float(took[1])))
        runs.append(stages)
    return runs, done


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300, help="of each real training")
    parser.add_argument("--seeds", type=int, default=4, help="of which each makes three real runs")
    parser.add_argument("--no-real", action="store_true", help="only what is simulated")
    asked = parser.parse_args()
    print("A thousand simulated runs on 64 nodes of 8 GPUs:")
    ratio, slowest = large()
    print(f"Twelve simulated runs on {GPUS} GPUs:")
    small()
    if not asked.no_real:
        print(f"Real runs on {GPUS} GPUs that only Ray counts:")
        share = real(asked.steps, asked.seeds)
    print(f"figure schedule_vs_bound {ratio:.3f} ratio")
    print(f"figure slowest_decision {slowest:.2f} ms")
    if not asked.no_real:
        print(f"figure gpu_busy {share:.3f} share")


if __name__ == "__main__":
    main()
