"""Benchmark problems from held-out compositions, with tests that tell compositions apart."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from models.starter.recipe import SEED
from models.starter.recipe.families import FAMILIES
from models.starter.recipe.grammar import Composition, Family, Function, Value, compositions, write
from models.starter.recipe.separation import word_runs
from models.starter.recipe.trusted import run
from models.starter.recipe.wording import instruction

PER_FAMILY = 17
"""Problems of a family at most; fewer where its compositions often mean the same."""
TESTS = 12
CANDIDATES = 40
"""Random arguments among which the tests are chosen."""
DRAWS = 12
"""Choices of constants for every composition to train on, when a problem is checked."""
ATTEMPTS = 60
"""Wordings tried per composition before it is given up."""


@dataclass(frozen=True, slots=True)
class Test:
    """One call and its answer."""

    __test__ = False  # not a pytest class

    args: list[Value]
    kwargs: dict[str, Value]
    expected: Value


@dataclass(frozen=True, slots=True)
class BenchmarkProblem:
    """One problem in the custom form of the judge."""

    task_id: str
    instruction: str
    signature: str
    entry_point: str
    tests: list[Test]
    reference: str
    family: str
    composition: str


def benchmark(seen: set[tuple[str, ...]], seed: int = SEED) -> list[BenchmarkProblem]:
    """Problems of all families in equal numbers, none of which shares a word run with `seen`."""
    found = [problem for family in FAMILIES for problem in family_problems(family, seen, seed)]
    return [
        BenchmarkProblem(
            f"starter/{number}",
            text,
            function.signature,
            function.name,
            tests,
            function.code + "\n",
            function.composition.family.name,
            function.composition.key,
        )
        for number, (function, text, tests) in enumerate(found)
    ]


def family_problems(
    family: Family, seen: set[tuple[str, ...]], seed: int
) -> list[tuple[Function, str, list[Test]]]:
    """The first held-out compositions, in random order, that can be worded apart and tested
    well."""
    rng = Random(f"benchmark {family.name} {seed}")
    held_out = list(compositions(family, held_out=True))
    trained = list(compositions(family, held_out=False))
    remembered = runnable(trained * DRAWS, rng)
    rng.shuffle(held_out)
    problems: list[tuple[Function, str, list[Test]]] = []
    for composition in held_out:
        if len(problems) == PER_FAMILY:
            break
        worded = worded_apart(composition, seen, rng)
        tests = telling_tests(worded[0], rivals(worded[0], trained, rng), rng) if worded else []
        if worded and tests and not any(passes(call, tests) for call in remembered):
            problems.append((*worded, tests))
    return problems


def worded_apart(
    composition: Composition, seen: set[tuple[str, ...]], rng: Random
) -> tuple[Function, str] | None:
    """A function and its instruction without a word run in `seen`, or None."""
    for _ in range(ATTEMPTS):
        function = write(composition, rng, held_out_names=True)
        text = instruction(function, rng)
        if seen.isdisjoint(word_runs(text)) and seen.isdisjoint(word_runs(function.code)):
            return function, text
    return None


def rivals(
    function: Function, trained: list[Composition], rng: Random
) -> list[Callable[[list[Value]], Value]]:
    """Runnable functions of all compositions to train on that read their arguments in the same
    form: whoever only remembers one of them must fail."""
    form = separators(function.composition)
    return runnable([other for other in trained if separators(other) == form], rng)


def runnable(chosen: list[Composition], rng: Random) -> list[Callable[[list[Value]], Value]]:
    """A function for each composition, with constants drawn anew."""
    return [run(write(other, rng).code, other.function_name) for other in chosen]


def passes(call: Callable[[list[Value]], Value], tests: list[Test]) -> bool:
    """Whether a function answers all tests as expected."""
    try:
        return all(json.dumps(call(test.args)) == json.dumps(test.expected) for test in tests)
    except ValueError:
        return False  # text written for another separator cannot be read


def separators(composition: Composition) -> list[str]:
    """The characters at which a composition splits text."""
    return [part.separator[1] for part in composition.parts.values() if part.separator]


def telling_tests(
    function: Function, others: list[Callable[[list[Value]], Value]], rng: Random
) -> list[Test]:
    """Tests that every rival fails, chosen greedily; empty when there are none or the answer hardly
    varies."""
    call = run(function.code, function.name)
    pool = [function.composition.arguments(rng) for _ in range(CANDIDATES)]
    answers = [call(values) for values in pool]
    failing = [
        {
            number
            for number, other in enumerate(others)
            if json.dumps(other(values)) != json.dumps(answer)
        }
        for values, answer in zip(pool, answers, strict=True)
    ]
    chosen: list[int] = []
    told: set[int] = set()
    while len(chosen) < TESTS:
        known = [answers[place] for place in chosen]
        left = [place for place in range(CANDIDATES) if place not in chosen]
        best = max(
            left,
            key=lambda place: (len(failing[place] - told), answers[place] not in known, -place),
        )
        chosen.append(best)
        told |= failing[best]
    if len(told) < len(others) or not varied([answers[place] for place in chosen]):
        return []
    return [Test(pool[place], {}, answers[place]) for place in chosen]


def varied(answers: list[Value]) -> bool:
    """Whether no single answer is right for more than three quarters of the tests."""
    shown = [json.dumps(answer) for answer in answers]
    return max(map(shown.count, shown)) <= 0.75 * TESTS
