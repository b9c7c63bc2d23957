"""Our training beside trl and transformers: `make bench-train`, in about fifteen minutes.

Every system puts LoRA adapters (rank 16, all linear layers) on the same model of 25 million random
weights and trains them on the same rows: prompts and responses of lognormal length, tokens already,
loss on the response. Rate, schedule, optimizer, clipping and seed are the same. A step takes the
same 8 rows everywhere, but for trl with packing, whose step is a pack of up to 1024 tokens (the
order within is its own). Each system is one process with one thread, pinned to one core, warmed by
a step that is not measured: imports, compiling and first allocations are in `start`, and nowhere
else. Then come the rounds: in each, every system takes its steps alone, while the others sleep; the
order turns from round to round. The figure is tokens of rows, padding not counted, per second of
CPU, user and system, of all its processes.

trl's defaults are bf16, activations computed again in the backward pass, and padding. Where a CPU
has no arithmetic for bfloat16, bf16 is slower than fp32 for everybody, by three or four times. So
the rounds are held in the precision in which this machine multiplies matrices faster, the same for
all, which is the only change to trl's defaults then; the other one is measured once, before.

`growth` is the most memory resident while the measured steps were taken, less what was resident
before the very first step; `peak` is the former. `loss` is the largest difference between a loss of
ours and transformers' at the same step; more than the tolerance ends in status 1.

The last lines are `figure NAME VALUE ratio`: ours over theirs, taken within each round, the median
of the rounds; of memory, theirs over ours, so more is better there too.
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from accounting import Groups, process_groups
from driven import Driven, DriverError
from train_systems import (
    FULL,
    OURS,
    PRECISIONS,
    TINY,
    Scale,
    Trainer,
    cores,
    environment,
    faster_precision,
    trainers,
    write_rows,
)

ROUNDS = {"llama": 3, "falcon": 2, "mistral": 2}
TOLERANCE = {"fp32": 1e-4, "bf16": 5e-2}
"""Nats. In bf16 the weights of ours are rounded once, theirs with every use, and sums differ."""
PEERS = ("trl_default", "trl_packed", "transformers")


@dataclass
class Measured:
    """What one system did."""

    start: float = 0.0
    """CPU seconds from nothing to the end of the first step."""
    rates: list[float] = field(default_factory=list)
    """Tokens per CPU-second, by round."""
    losses: list[float] = field(default_factory=list)
    before_mib: float = 0.0
    peak_mib: float = 0.0

    @property
    def growth_mib(self) -> float:
        """See above."""
        return self.peak_mib - self.before_mib


Results = dict[Trainer, Measured]


def main() -> int:
    """Measure, print, and return an exit status."""
    options = _options()
    scale = TINY if options.tiny else FULL
    precision = options.precision or faster_precision()
    families = options.families.split(",")
    only = set(options.only.split(",")) if options.only else {OURS, *PEERS}
    results: Results = {}
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as name, process_groups() as groups:
        bench = Bench(Path(name), scale, groups, notes)
        lengths = write_rows(bench.rows, scale)
        for family in families:
            for other in PRECISIONS if family == "llama" and not options.once else [precision]:
                chosen = [one for one in trainers(family, other) if one.name in only]
                rounds = options.rounds or ROUNDS[family]
                bench.measure(chosen, rounds if other == precision else 1, results)
        if not groups.counts_cpu:
            notes.append("no cgroup can be made here, so CPU is read from /proc")
    print(
        f"\n{len(lengths)} rows of {min(lengths)} to {max(lengths)} tokens, "
        f"{sum(lengths) / len(lengths):.0f} in the mean; one core; CPU from: {groups.kind}; "
        f"faster here: {precision}"
    )
    _print_table(results)
    agree = _print_curves(results)
    for note in notes:
        print(f"note: {note}")
    return _print_figures(results, precision) if agree else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, help="times that every system runs")
    parser.add_argument("--families", default="llama,falcon,mistral", help="commas between")
    parser.add_argument("--only", help="names of systems, with commas between")
    parser.add_argument("--precision", choices=PRECISIONS, help="of the rounds")
    parser.add_argument("--once", action="store_true", help="leave the other precision out")
    parser.add_argument("--tiny", action="store_true", help="small, to see that it runs")
    return parser.parse_args()


@dataclass(frozen=True)
class Bench:
    """Where it happens."""

    folder: Path
    scale: Scale
    groups: Groups
    notes: list[str]

    @property
    def rows(self) -> Path:
        """The file that every driver reads."""
        return self.folder / "rows.json"

    def measure(self, chosen: Sequence[Trainer], rounds: int, results: Results) -> None:
        """Run systems in rounds; one that fails is noted and left out.

        A single round is not held together, since nothing is compared within it: then each is
        started and ended before the next, which keeps the memory of the machine free.
        """
        for part in [chosen] if rounds > 1 else [[one] for one in chosen]:
            with self._started(part, results) as running:
                for turn in range(rounds):
                    for trainer in _turned(list(running), turn):
                        _progress(f"{_described(trainer)}, round {turn + 1} of {rounds}")
                        try:
                            self._round(trainer, running[trainer], results[trainer])
                        except DriverError as error:
                            self.notes.append(f"{_described(trainer)} is left out: {error}")
                            running.pop(trainer).close()
                            results.pop(trainer)

    @contextmanager
    def _started(
        self, chosen: Sequence[Trainer], results: Results
    ) -> Iterator[dict[Trainer, Driven]]:
        running: dict[Trainer, Driven] = {}
        try:
            for trainer in chosen:
                _progress(f"starting {_described(trainer)}")
                try:
                    running[trainer] = self._driven(trainer)
                    answer = running[trainer].ask(executions=1)
                except DriverError as error:
                    self.notes.append(f"{_described(trainer)} is left out: {error}")
                    if trainer in running:
                        running.pop(trainer).close()
                    continue
                results[trainer] = Measured(
                    start=running[trainer].cpu_seconds(),
                    losses=answer["losses"],
                    before_mib=answer["before_mib"],
                )
            yield running
        finally:
            for driven in running.values():
                driven.close()

    def _driven(self, trainer: Trainer) -> Driven:
        command = trainer.command(self.rows, self.scale)
        name = f"{trainer.name}-{trainer.family}-{trainer.precision}"
        return Driven(name, command, cores(), self.groups, environment(self.folder))

    def _round(self, trainer: Trainer, driven: Driven, measured: Measured) -> None:
        before = driven.cpu_seconds()
        answer: dict[str, Any] = driven.ask(executions=trainer.steps(self.scale))
        measured.rates.append(answer["tokens"] / (driven.cpu_seconds() - before))
        measured.losses += answer["losses"]
        measured.peak_mib = max(measured.peak_mib, answer["peak_mib"])


def _turned(names: list[Trainer], turn: int) -> list[Trainer]:
    turn %= len(names) or 1
    return names[turn:] + names[:turn]


def _described(trainer: Trainer) -> str:
    return f"{trainer.name}, {trainer.family}, {trainer.precision}"


def _progress(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


def _print_table(results: Results) -> None:
    print(
        f"\n{'model':9}{'precision':11}{'system':34}{'tokens per CPU-second':>24}{'ours is':>9}"
        f"{'start, CPU s':>14}{'growth MiB':>12}{'peak MiB':>10}"
    )
    for trainer, measured in results.items():
        rates = measured.rates
        spread = f"{median(rates):.0f} ({min(rates):.0f}-{max(rates):.0f})"
        ratios = _ratios(results, trainer)
        ratio = f"x {median(ratios):.2f}" if ratios else "-"
        print(
            f"{trainer.family:9}{trainer.precision:11}{trainer.title:34}{spread:>24}{ratio:>9}"
            f"{measured.start:>14.1f}{measured.growth_mib:>12.0f}{measured.peak_mib:>10.0f}"
        )
    print()


def _ratios(results: Results, trainer: Trainer) -> list[float]:
    """Tokens per CPU-second, ours over theirs, round by round; empty where ours is missing."""
    ours = _find(results, OURS, trainer.family, trainer.precision)
    return [a / b for a, b in zip(ours.rates, results[trainer].rates, strict=True)] if ours else []


def _find(results: Results, name: str, family: str, precision: str) -> Measured | None:
    wanted = (name, family, precision)
    found = [results[t] for t in results if (t.name, t.family, t.precision) == wanted]
    return found[0] if found else None


def _print_curves(results: Results) -> bool:
    """Lay our losses over transformers'; whether they agree."""
    curves: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(dict)
    for trainer, measured in results.items():
        if trainer.name in (OURS, "transformers"):
            curves[trainer.family, trainer.precision][trainer.name] = measured.losses
    agree = True
    for (family, precision), curve in curves.items():
        if len(curve) == 2:
            ours, theirs = curve[OURS], curve["transformers"]
            apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
            tolerance = TOLERANCE[precision]
            verdict = "agree" if apart <= tolerance else "DIFFER"
            agree &= apart <= tolerance
            print(
                f"loss, {family}, {precision}: {len(ours)} steps from {ours[0]:.4f} to "
                f"{ours[-1]:.4f} nats; ours and transformers' {verdict}: "
                f"{apart:.1e} at most, tolerance {tolerance:.0e}"
            )
    print()
    return agree


def _print_figures(results: Results, precision: str) -> int:
    """The lines that other tools read; 1 where one of them is missing."""
    missing = 0
    for trainer in [t for t in results if t.name in PEERS and t.precision == precision]:
        if ratios := _ratios(results, trainer):
            end = "" if trainer.family == "llama" else f"_{trainer.family}"
            print(f"figure train_vs_{trainer.name}{end} {median(ratios):.3f} ratio")
    for name in PEERS:
        missing |= _find(results, name, "llama", precision) is None
    ours = _find(results, OURS, "llama", precision)
    theirs = _find(results, "trl_default", "llama", precision)
    if ours and theirs:
        print(f"figure train_memory_vs_trl {theirs.growth_mib / ours.growth_mib:.3f} ratio")
    return int(missing or not ours)


if __name__ == "__main__":
    sys.exit(main())
