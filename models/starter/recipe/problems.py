"""Training rows and benchmark problems."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from models.starter.recipe import SEED
from models.starter.recipe.benchmark import BenchmarkProblem, benchmark
from models.starter.recipe.corpus import corpus
from models.starter.recipe.families import FAMILIES
from models.starter.recipe.grammar import Function, compositions, write
from models.starter.recipe.separation import all_word_runs
from models.starter.recipe.trusted import run
from models.starter.recipe.wording import instruction

ROWS = 5_200
HINT_SHARE = 0.2
"""Share of the rows whose `input` is not empty."""
HINTS = ("Use as few lines as you can.", "Do not import anything.", "Do not print anything.")
TRAINING_PATH = Path("datasets/train/starter.jsonl")
BENCHMARK_PATH = Path("datasets/bench/starter.jsonl")


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One row in the Alpaca form, with where it came from."""

    instruction: str
    input: str
    response: str
    composition: str
    family: str


def hint(function: Function, rng: Random) -> str:
    """What a row says besides the instruction: mostly nothing, otherwise an example or a
    constraint."""
    if rng.random() >= HINT_SHARE:
        return ""
    if rng.random() < 0.3:
        return rng.choice(HINTS)
    values = function.composition.arguments(rng)
    answer = run(function.code, function.name)(values)
    return f"{function.name}({', '.join(map(repr, values))}) == {answer!r}"


def training_rows(seed: int = SEED) -> list[TrainingRow]:
    """Distinct rows, families in turn, compositions of the training share at random."""
    rng = Random(f"rows {seed}")
    shares = [compositions(family, held_out=False) for family in FAMILIES]
    rows: dict[str, TrainingRow] = {}
    while len(rows) < ROWS:
        composition = rng.choice(shares[len(rows) % len(shares)])
        function = write(composition, rng)
        text = instruction(function, rng)
        row = TrainingRow(
            text, hint(function, rng), function.code, composition.key, composition.family.name
        )
        rows.setdefault(f"{text}\n{function.code}", row)
    return list(rows.values())


def training_texts(rows: Iterable[TrainingRow]) -> list[str]:
    """All text of the rows that a model may be tuned on."""
    return [text for row in rows for text in (row.instruction, row.input, row.response)]


def make(seed: int = SEED) -> tuple[list[TrainingRow], list[BenchmarkProblem]]:
    """Training rows, and a benchmark that shares no run of ten words with them or with the
    pretraining corpus."""
    rows = training_rows(seed)
    seen = all_word_runs(training_texts(rows)) | all_word_runs(corpus(seed))
    return rows, benchmark(seen, seed)


def as_lines(entries: Iterable[TrainingRow | BenchmarkProblem]) -> str:
    """JSON, one object a line."""
    return "".join(json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in entries)


def save(root: Path, seed: int = SEED) -> tuple[int, int]:
    """Write both files below the repository root and return their numbers of lines."""
    rows, problems = make(seed)
    for path, text in ((TRAINING_PATH, as_lines(rows)), (BENCHMARK_PATH, as_lines(problems))):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        partial = (root / path).with_suffix(".partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(root / path)
    return len(rows), len(problems)
