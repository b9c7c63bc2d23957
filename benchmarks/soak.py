"""The soak: very many completions of a real model through one `judge_all` call.

Memory is what is resident; pages that a server shares with the processes it forked count in each.
"""

import sys
import time
from collections import Counter
from dataclasses import dataclass

from accounting import described, process_groups, resident_mib
from driven import Driven
from published import published
from systems import our_judge

_BATCH = 500
_EVERY = 10.0
_SAMPLES = "codet_codegen16B_HumanEval_n100.jsonl.gz"


@dataclass(frozen=True)
class Sample:
    """What the judge occupied at one moment."""

    seconds: float
    judged: int
    process_mib: float
    all_mib: float
    processes: int


def soak(completions: int, workers: int, cpu_seconds: float) -> int:
    """Judge that many, print what they occupied, and return an exit status.

    A low `cpu_seconds` keeps the endless loops among them, one in eighty, from taking most of it.
    The status is 1 when a process was left or a verdict is `sandbox_error`.
    """
    extra = ["--samples", str(published(_SAMPLES)), "--length", str(completions)]
    extra += ["--cpu-seconds", str(cpu_seconds)]
    system = our_judge("soak", workers, extra)
    with process_groups() as groups:
        driven = Driven(system.name, system.command, system.cores(), groups, system.environment)
        try:
            samples, outcomes = _judge(driven, completions)
            driven.ask(executions=0)
            idle = [described(pid) for pid in driven.others()]
        finally:
            left = driven.close()
    _report(samples, outcomes, idle, len(left))
    return 1 if left or outcomes["sandbox_error"] else 0


def _judge(driven: Driven, completions: int) -> tuple[list[Sample], Counter[str]]:
    samples: list[Sample] = []
    outcomes: Counter[str] = Counter()
    started = time.monotonic()
    due = started
    for judged in range(0, completions, _BATCH):
        driven.send(executions=min(_BATCH, completions - judged))
        answer = None
        while answer is None:
            answer = driven.poll()
            if time.monotonic() >= due and judged > 0:
                due = time.monotonic() + _EVERY
                samples.append(_sample(driven, time.monotonic() - started, judged))
                _print(samples[-1])
        outcomes.update(answer["outcomes"])
        for trouble in answer["troubles"]:
            print(f"sandbox_error: {trouble}")
    samples.append(_sample(driven, time.monotonic() - started, completions))
    _print(samples[-1])
    return samples, outcomes


def _sample(driven: Driven, seconds: float, judged: int) -> Sample:
    pids = driven.group.processes()
    return Sample(
        seconds=seconds,
        judged=judged,
        process_mib=resident_mib(driven.pid),
        all_mib=sum(map(resident_mib, pids)),
        processes=len(pids),
    )


def _print(sample: Sample) -> None:
    print(
        f"{sample.seconds:7.0f} s  {sample.judged:8d} judged  "
        f"judge {sample.process_mib:7.1f} MiB  with descendants {sample.all_mib:8.1f} MiB  "
        f"{sample.processes:3d} processes",
        flush=True,
    )


def _report(samples: list[Sample], outcomes: Counter[str], idle: list[str], left: int) -> None:
    first, last = samples[0], samples[-1]
    print("\noutcomes: " + ", ".join(f"{name} {n}" for name, n in outcomes.most_common()))
    for name, values in (
        ("judge process", [sample.process_mib for sample in samples]),
        ("with descendants", [sample.all_mib for sample in samples]),
    ):
        print(
            f"memory, {name}: first {values[0]:.1f} MiB, max {max(values):.1f} MiB, "
            f"last {values[-1]:.1f} MiB, max over first {max(values) / values[0]:.3f}"
        )
    print(f"processes: at most {max(sample.processes for sample in samples)}")
    print(f"processes beside the judge's own two seconds after judge_all had ended: {len(idle)}")
    for command in idle:
        print(f"  {command[:90]}")
    print(f"processes left after the judge's own had ended: {left}")
    print(f"figure soak_executions_per_second {last.judged / last.seconds:.1f} 1/s")
    peak = max(sample.all_mib for sample in samples)
    print(f"figure soak_memory_growth {peak / first.all_mib:.3f} ratio")
    print(f"figure soak_processes_left {left} processes")
    sys.stdout.flush()
