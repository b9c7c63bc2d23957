"""Whether our intervals hold what they say, and our tests find what they should.

Worlds of known truth are drawn again and again, and `database.intervals`, `comparisons` and `power`
are asked about each as they are about real verdicts:

- `single`: one answer to each problem, all problems alike: summed over the binomial law, exactly;
- `uneven`: one answer to each, every problem with a chance of its own;
- `ten`: ten answers to each, every problem with a chance of its own, from a beta law whose chances
  of two answers to one problem correlate by 0.1, 0.3 or 0.6;
- `families`: one answer to each; problems of a family share a chance, correlated as much.

A nominal 95 % must hold the truth in 94 to 96 of 100 worlds on average over chances from 0.05 to
0.95, and nowhere in fewer than 92. A test at 5 % must name a difference where there is none in at
most 5 of 100 worlds, and find one as often as the textbook says. The last lines are
`figure NAME VALUE UNIT`. With two processes in about five minutes; `--worlds` for fewer.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from database.comparisons import Difference, Pairs, difference_of, noise_of
from database.intervals import interval_of
from database.power import detectable_gap, smallest_gap

CHANCES = tuple(round(0.05 * step, 2) for step in range(1, 20))
PROBLEMS = (20, 164, 974)
CORRELATIONS = (0.1, 0.3, 0.6)
FAMILY = {20: 2, 164: 4, 974: 16}
"""Problems of a family, by the problems of the benchmark: 10, 41 and 61 families."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A law of benchmarks and answers."""

    kind: str
    problems: int
    chance: float
    """Of an answer to pass, over all problems."""
    correlation: float = 0.0
    answers: int = 1
    family: int = 1
    """Problems that share a chance."""

    @property
    def units(self) -> np.ndarray:
        """(problems,) what each was drawn with."""
        return np.arange(self.problems) // self.family

    def chances(self, random: np.random.Generator) -> np.ndarray:
        """(problems,) of an answer to pass."""
        units = int(self.units[-1]) + 1
        if self.correlation == 0:
            return np.full(self.problems, self.chance)
        weight = 1 / self.correlation - 1
        drawn = random.beta(self.chance * weight, (1 - self.chance) * weight, units)
        return drawn[self.units]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """A law of two models on the same problems."""

    world: World
    gap: float
    """By which the better one's chance is higher, on average over problems."""
    own: float = 0.0
    """Standard deviation of that over units: problems that one model is good at."""


def worlds() -> Iterator[World]:
    """Every world in which intervals are tried."""
    for problems in PROBLEMS:
        for chance in CHANCES:
            yield World(kind="single", problems=problems, chance=chance)
            for c in CORRELATIONS:
                common = {"problems": problems, "chance": chance, "correlation": c}
                yield World(kind="ten", answers=10, **common)
                yield World(kind="families", family=FAMILY[problems], **common)


def held(world: World, draws: int) -> float:
    """In how many of the worlds drawn the interval holds the truth; `single` is exact."""
    if world.kind == "single":
        return _held_exactly(world)
    random = np.random.default_rng([world.problems, round(100 * world.chance), draws])
    within = 0
    for _ in range(draws):
        passed = random.binomial(world.answers, world.chances(random))
        found = interval_of(passed / world.answers, world.units, world.problems * world.answers)
        within += found.low <= world.chance <= found.high
    return within / draws


def _held_exactly(world: World) -> float:
    law = stats.binom(world.problems, world.chance)
    held = 0.0
    for passed in range(world.problems + 1):
        values = np.zeros(world.problems)
        values[:passed] = 1
        found = interval_of(values, world.units, world.problems)
        held += float(law.pmf(passed)) * (found.low <= world.chance <= found.high)
    return held


def compared(pairing: Pairing, random: np.random.Generator) -> Pairs:
    """One draw of two models, as `database.comparisons` sees it."""
    world = pairing.world
    base = world.chances(random)
    units = int(world.units[-1]) + 1
    lift = pairing.gap + pairing.own * random.choice([-1.0, 1.0], units)[world.units]
    tuned = np.clip(base + lift, 0, 1)
    passed = [random.binomial(world.answers, chances) for chances in (tuned, base)]
    differences = (passed[0] - passed[1]) / world.answers
    return Pairs(
        totals=np.round(np.bincount(world.units, weights=differences), 12),
        sizes=np.bincount(world.units).astype(float),
        differing=int((differences != 0).sum()),
        single=world.answers == 1 and world.family == 1,
    )


def truth(pairing: Pairing) -> float:
    """The mean gap after chances are kept within [0, 1]."""
    random = np.random.default_rng(1)
    world = pairing.world
    many = World(
        kind=world.kind, problems=400_000, chance=world.chance,
        correlation=world.correlation, family=world.family,
    )  # fmt: skip
    base = many.chances(random)
    lift = pairing.gap + pairing.own * random.choice([-1.0, 1.0], len(base))
    return float((np.clip(base + lift, 0, 1) - base).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What comparing came to, over many draws."""

    held: float
    """Share of intervals with the truth in them."""
    named: float
    """Share in which a direction was named."""
    significant: float
    """Share with p < 0.05."""


def tried(pairing: Pairing, draws: int) -> Found:
    """Compare two models many times."""
    world = pairing.world
    random = np.random.default_rng([world.problems, draws, round(1000 * pairing.gap)])
    true = truth(pairing) if pairing.gap else 0.0
    found: list[Difference] = [difference_of(compared(pairing, random)) for _ in range(draws)]
    return Found(
        held=float(np.mean([(d.low or 0) <= true <= (d.high or 0) for d in found])),
        named=float(np.mean([d.verdict != "no clear difference" for d in found])),
        significant=float(np.mean([(d.p or 0) < 0.05 for d in found])),
    )


def pairings() -> Iterator[tuple[str, Pairing]]:
    """Pairs of models by what is asked of them: `size`, where both are equal, and `gap`."""
    for problems in PROBLEMS:
        for chance in (0.1, 0.3, 0.5, 0.8):
            common = {"problems": problems, "chance": chance, "correlation": 0.3}
            laws = (
                World(kind="single", **common),
                World(kind="ten", answers=10, **common),
                World(kind="families", family=FAMILY[problems], **common),
            )
            for world in laws:
                own = 0.05 if world.kind != "single" else 0.0
                yield "size", Pairing(world=world, gap=0.0)
                yield "gap", Pairing(world=world, gap=0.1, own=own)


def main() -> int:
    """Print the tables and figures; 1 where the intervals do not hold what they say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=2_000, help="drawn of each law")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    with ProcessPoolExecutor(asked.processes) as pool:
        good = _intervals(pool, asked.worlds)
        good &= _comparisons(pool, max(100, asked.worlds // 4))
        _powers(pool, max(100, asked.worlds // 4))
    return 0 if good else 1


def _intervals(pool: ProcessPoolExecutor, draws: int) -> bool:
    tried_worlds = list(worlds())
    shares = list(pool.map(held, tried_worlds, [draws] * len(tried_worlds), chunksize=4))
    groups: dict[tuple[str, int, float], dict[float, float]] = defaultdict(dict)
    for world, share in zip(tried_worlds, shares, strict=True):
        groups[world.kind, world.problems, world.correlation][world.chance] = share
    print(f"nominal 95 % intervals, {draws:,} worlds of each law (single: exactly)")
    print(f"{'world':10}{'problems':>9}{'correlation':>13}{'average':>9}{'lowest':>8}{'at':>6}")
    for (kind, problems, correlation), of_chance in groups.items():
        lowest = min(of_chance, key=of_chance.__getitem__)
        print(
            f"{kind:10}{problems:9}{correlation:13.1f}{_percent(of_chance.values()):9.1f}"
            f"{100 * of_chance[lowest]:8.1f}{lowest:6.2f}"
        )
    good = [_figures(kind, groups) for kind in ("single", "ten", "families")]
    return all(good)


def _figures(kind: str, groups: Mapping[tuple[str, int, float], Mapping[float, float]]) -> bool:
    shares = [share for key, found in groups.items() if key[0] == kind for share in found.values()]
    average, lowest = _percent(shares), 100 * min(shares)
    print(f"figure coverage_{kind}_average {average:.2f} %")
    print(f"figure coverage_{kind}_lowest {lowest:.2f} %")
    return 94 <= average <= 96 and lowest >= 92


def _percent(shares: Sequence[float]) -> float:
    return 100 * float(np.mean(list(shares)))


def _comparisons(pool: ProcessPoolExecutor, draws: int) -> bool:
    asked = list(pairings())
    found = list(pool.map(tried, [pairing for _, pairing in asked], [draws] * len(asked)))
    print(f"\npaired comparisons, {draws:,} of each law; gap 0.1 where there is one")
    print(f"{'world':10}{'problems':>9}{'chance':>8}{'':>6}{'held':>7}{'p<0.05':>8}{'named':>7}")
    for (what, pairing), one in zip(asked, found, strict=True):
        world = pairing.world
        print(
            f"{world.kind:10}{world.problems:9}{world.chance:8.2f}{what:>6}"
            f"{100 * one.held:7.1f}{100 * one.significant:8.1f}{100 * one.named:7.1f}"
        )
    sizes = [one.significant for (what, _), one in zip(asked, found, strict=True) if what == "size"]
    covers = [one.held for one in found]
    print(f"figure size_of_test_average {_percent(sizes):.2f} %")
    print(f"figure size_of_test_highest {100 * max(sizes):.2f} %")
    print(f"figure coverage_difference_average {_percent(covers):.2f} %")
    print(f"figure coverage_difference_lowest {100 * min(covers):.2f} %")
    noise = 3 * (0.05 * 0.95 / draws) ** 0.5
    return max(sizes) <= 0.05 + noise


def _powers(pool: ProcessPoolExecutor, draws: int) -> None:
    """Whether the gap that is told is found in 80 of 100 draws."""
    print(f"\nthe gap that is told, and how often it is found, {draws:,} draws")
    print(f"{'world':10}{'problems':>9}{'gap':>7}{'found':>8}")
    told = [
        World(kind=kind, problems=problems, chance=0.4, correlation=0.3, answers=answers,
              family=FAMILY[problems] if kind == "families" else 1)
        for problems in (164, 974)
        for kind, answers in (("single", 1), ("ten", 10), ("families", 1))
    ]  # fmt: skip
    found = list(pool.map(found_how_often, told, [draws] * len(told)))
    for world, (gap, share) in zip(told, found, strict=True):
        print(f"{world.kind:10}{world.problems:9}{100 * gap:7.1f}{100 * share:8.1f}")
        print(f"figure power_{world.kind}_{world.problems} {100 * share:.1f} %")
    print(f"figure detectable_gap_164 {100 * (detectable_gap(164) or 0):.1f} points")


def found_how_often(world: World, draws: int) -> tuple[float, float]:
    """The gap that a few comparisons of this law tell, and how often it is found."""
    random = np.random.default_rng(17)
    first = [compared(Pairing(world=world, gap=0.08), random) for _ in range(9)]
    gap = smallest_gap(world.problems, [noise_of(pairs) for pairs in first]) or 1.0
    there = Pairing(world=world, gap=gap)
    found = [difference_of(compared(there, random)).verdict == "better" for _ in range(draws)]
    return gap, float(np.mean(found))


if __name__ == "__main__":
    sys.exit(main())
