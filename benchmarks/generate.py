"""Our engine beside transformers' ways to ask a model: `make bench-generate`, fifteen minutes.

Every system asks the same Llama of 25 million random weights for ten answers to each prompt, in
float32, sampled at temperature 0.8. The prompts are as long as HumanEval's, three characters to a
token: those of the published file where it is under `CODELADDER_DATA` or beside the repository,
else lognormal lengths of the same mean and spread. Their tokens are random. An answer ends after
96 tokens or at one of 64 end tokens, which random weights draw every 64 tokens or so.

- ours: `jobs.engine.written`, the text of each answer decoded;
- one by one: `generate`, a prompt at a time, once for each answer;
- batched: `generate` on rows side by side, sorted by length, padded on the left;
- returned: `generate` with `num_return_sequences=10`, sorted and padded likewise;
- continuous: `generate_batch`, its continuous batching.

Each is one process with one thread, pinned to one core, warmed by a call that is not measured. Then
come the rounds: in each, every system asks its prompts alone, while the others sleep; the order
turns from round to round. Together the rounds ask all 164 prompts; slow systems ask an even
selection of each round's, which the table states. The figure is answers per second of CPU, user
and system.

Before that, our greedy answers are laid beside those of `generate`, token by token; one that
differs ends in status 1. The last lines are `figure NAME VALUE ratio`: ours over theirs, taken
within each round, the median of the rounds.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from accounting import Groups, process_groups
from driven import Driven, DriverError
from published import MissingDataError, published, rows
from train_systems import cores, environment

_DRIVERS = Path(__file__).resolve().parent / "peers"
OURS, ONE = "codeladder", "one"
CHARACTERS_A_TOKEN = 3
VOCABULARY, ENDS = 4096, 64
"""As in `peers/generating.py`, which takes a second to import."""
EACH = 10


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large everything is."""

    prompts: int = 164
    rounds: int = 3
    width: int = 512
    layers: int = 8
    room: int = 96
    greedy: int = 16
    """Prompts that are answered greedily."""


FULL = Scale()
TINY = Scale(prompts=16, rounds=2, width=64, layers=2, room=8, greedy=4)


@dataclass(frozen=True, kw_only=True)
class System:
    """One row of the table."""

    name: str
    title: str
    script: str
    more: tuple[str, ...] = ()
    share: int = 1
    """It asks one in so many prompts of a round."""

    def command(self, prompts: Path, scale: Scale) -> list[str]:
        """What starts it."""
        return [
            *(sys.executable, str(_DRIVERS / self.script), "--prompts", str(prompts)),
            *("--width", str(scale.width), "--layers", str(scale.layers)),
            *("--room", str(scale.room), *self.more),
        ]


def systems() -> list[System]:
    """Ours and transformers'; the batches are those at which each is fastest here."""
    theirs = [
        (ONE, "generate, one by one", 8),
        ("batched", "generate, batched", 6),
        ("returned", "generate, num_return_sequences", 6),
        ("continuous", "generate_batch, continuous", 8),
    ]
    return [
        System(name=OURS, title="Codeladder", script="generate_codeladder.py"),
        *(
            System(
                name=name,
                title=title,
                script="generate_transformers.py",
                more=("--way", name),
                share=share,
            )
            for name, title, share in theirs
        ),
    ]


@dataclass
class Measured:
    """What one system did."""

    rates: list[float] = field(default_factory=list)
    """Answers per CPU-second, by round."""
    prompts: int = 0
    answers: int = 0
    drawn: int = 0
    """Tokens."""


def main() -> int:
    """Measure, print, and return an exit status."""
    options = _options()
    scale = TINY if options.tiny else FULL
    rounds = options.rounds or scale.rounds
    only = set(options.only.split(",")) if options.only else {one.name for one in systems()}
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as name, process_groups() as groups:
        path = Path(name) / "prompts.json"
        lengths = write_prompts(path, scale.prompts, notes)
        bench = Bench(path, scale, groups, notes)
        with bench.started([one for one in systems() if one.name in only]) as running:
            same = bench.compare(running)
            results = bench.measure(running, rounds)
        if not groups.counts_cpu:
            notes.append("no cgroup can be made here, so CPU is read from /proc")
        kind = groups.kind
    print(
        f"\n{len(lengths)} prompts of {min(lengths)} to {max(lengths)} tokens, "
        f"{sum(lengths) / len(lengths):.0f} in the mean; {EACH} answers each, float32; one core; "
        f"CPU from: {kind}"
    )
    _print_table(results)
    for note in notes:
        print(f"note: {note}")
    return _print_figures(results) if same else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, help="times that every system runs")
    parser.add_argument("--only", help="names of systems, with commas between")
    parser.add_argument("--tiny", action="store_true", help="small, to see that it runs")
    return parser.parse_args()


def write_prompts(path: Path, count: int, notes: list[str]) -> list[int]:
    """Prompts of random tokens, as long as HumanEval's.

    Returns:
        Their lengths.
    """
    random = np.random.default_rng(0)
    try:
        characters = [len(row["prompt"]) for row in rows(published("HumanEval.jsonl.gz"))]
    except MissingDataError:
        notes.append("HumanEval is not on this machine, so the lengths are lognormal")
        characters = np.clip(random.lognormal(5.99, 0.49, count), 115, 1360).astype(int).tolist()
    lengths = [one // CHARACTERS_A_TOKEN for one in characters[:count]]
    prompts = [random.integers(ENDS + 1, VOCABULARY, length).tolist() for length in lengths]
    path.write_text(json.dumps(prompts))
    return lengths


Running = dict[System, Driven]
Results = dict[System, Measured]


@dataclass(frozen=True)
class Bench:
    """Where it happens."""

    prompts: Path
    scale: Scale
    groups: Groups
    notes: list[str]

    @contextmanager
    def started(self, chosen: Sequence[System]) -> Iterator[Running]:
        """Systems that have answered once; one that fails is noted and left out."""
        running: Running = {}
        try:
            for system in chosen:
                _progress(f"warming {system.name}")
                try:
                    running[system] = Driven(
                        f"generate-{system.name}",
                        system.command(self.prompts, self.scale),
                        cores(),
                        self.groups,
                        environment(self.prompts.parent),
                    )
                    running[system].ask(
                        executions=EACH, first=0, every=self.scale.prompts, greedy=False
                    )
                except DriverError as error:
                    self.notes.append(f"{system.name} is left out: {error}")
                    if system in running:
                        running.pop(system).close()
            yield running
        finally:
            for driven in running.values():
                driven.close()

    def compare(self, running: Running) -> bool:
        """Lay our greedy answers beside those of `generate`; whether they are the same."""
        found = {system.name: driven for system, driven in running.items()}
        if not {OURS, ONE} <= found.keys():
            self.notes.append("greedy answers were not compared")
            return True
        _progress("comparing greedy answers")
        every = max(1, self.scale.prompts // self.scale.greedy)
        ours, theirs = (
            found[name].ask(executions=1, first=0, every=every, greedy=True)["tokens"]
            for name in (OURS, ONE)
        )
        same = sum(one == other for one, other in zip(ours, theirs, strict=True))
        print(f"greedy answers that are token for token those of generate: {same} of {len(ours)}")
        return same == len(ours)

    def measure(self, running: Running, rounds: int) -> Results:
        """Run systems in rounds; one that fails is noted and left out."""
        results: Results = {system: Measured() for system in running}
        for turn in range(rounds):
            for system in _turned(list(running), turn):
                _progress(f"{system.name}, round {turn + 1} of {rounds}")
                try:
                    self._round(system, running[system], results[system], (turn, rounds))
                except DriverError as error:
                    self.notes.append(f"{system.name} is left out: {error}")
                    running.pop(system).close()
                    results.pop(system)
        return results

    def _round(
        self, system: System, driven: Driven, measured: Measured, turn: tuple[int, int]
    ) -> None:
        number, rounds = turn
        every = rounds * system.share
        before = driven.cpu_seconds()
        answer = driven.ask(executions=EACH, first=number, every=every, greedy=False)
        measured.rates.append(answer["passed"] / (driven.cpu_seconds() - before))
        measured.prompts += answer["passed"] // EACH
        measured.answers += answer["passed"]
        measured.drawn += answer["drawn"]


def _turned(names: list[System], turn: int) -> list[System]:
    turn %= len(names) or 1
    return names[turn:] + names[:turn]


def _progress(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


def _print_table(results: Results) -> None:
    print(
        f"\n{'system':34}{'answers per CPU-second':>26}{'ours is':>10}{'prompts':>9}"
        f"{'tokens an answer':>18}"
    )
    for system, measured in results.items():
        rates = measured.rates
        spread = f"{median(rates):.2f} ({min(rates):.2f}-{max(rates):.2f})"
        ratios = _ratios(results, system)
        ratio = f"x {median(ratios):.2f}" if ratios else "-"
        mean = measured.drawn / measured.answers
        print(f"{system.title:34}{spread:>26}{ratio:>10}{measured.prompts:>9}{mean:>18.1f}")
    print()


def _ratios(results: Results, system: System) -> list[float]:
    """Answers per CPU-second, ours over theirs, round by round; empty where ours is missing."""
    for ours in results:
        if ours.name == OURS:
            return [a / b for a, b in zip(results[ours].rates, results[system].rates, strict=True)]
    return []


def _print_figures(results: Results) -> int:
    """The lines that other tools read; 1 where one of them is missing."""
    ratios = {system.name: _ratios(results, system) for system in results if system.name != OURS}
    if not all(ratios.values()) or ONE not in ratios or len(ratios) < 2:
        return 1
    print(f"figure generate_vs_one_by_one {median(ratios[ONE]):.3f} ratio")
    best = min(median(found) for name, found in ratios.items() if name != ONE)
    print(f"figure generate_vs_best_transformers {best:.3f} ratio")
    return 0


if __name__ == "__main__":
    sys.exit(main())
