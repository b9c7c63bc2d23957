"""A dataset's recipe becomes rows to train on, stage by stage; what is done is not done again."""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow.parquet as pq

from eval_sandbox.problem import Problem
from jobs.card_text import one_line
from jobs.cards import dataset_card
from jobs.data import blending
from jobs.data.contamination import Index
from jobs.data.crew import Alone, Crew
from jobs.data.deciding import Decisions, decide, touched
from jobs.data.duplicates import find_duplicates
from jobs.data.execution import Cases
from jobs.data.folder import DataFolder
from jobs.data.reading import read
from jobs.data.report import Execution, Report
from jobs.data.row import SHARD_ROWS
from jobs.data.sifting import Shard, Sieve, sift_shard
from jobs.data.sources import Part, parts
from jobs.data.summary import duplicate_pairs, summarise
from jobs.data.tally import Tally, total
from jobs.data.trying import Tried, Trier, by_shard, choose, convincing, executed, try_rows
from jobs.declared import UserError
from jobs.experiment import Dataset
from jobs.home import Home
from jobs.recipes import TRAIN

Told = Callable[[str, int, int], None]
"""Hears of progress: what is done, how much of it, of how much."""
QUICK = ("duplicates", "writing")
FEW_SHARDS = 8
"""Shards of which the quick stages are done here: to start actors would take longer."""
Item = TypeVar("Item")
Result = TypeVar("Result")


def prepare(dataset: Dataset, home: Home, crew: Crew, told: Told) -> DataFolder:
    """Prepare a dataset once for all runs that train on it.

    Args:
        dataset: its recipe, and the benchmarks that are kept out of it.
        home: where it lands, under its digest.
        crew: who works on its shards.
        told: hears of progress.

    Raises:
        UserError: a source is missing, damaged or not what is pinned; or no row is left.
    """
    folder = home.data(dataset.digest)
    with _one_at_a_time(folder):
        if not folder.path.exists():
            _Preparation(dataset, folder, crew, told).run()
    return folder


@dataclass(frozen=True, slots=True)
class _Preparation:
    dataset: Dataset
    folder: DataFolder
    crew: Crew
    told: Told

    def run(self) -> None:
        """Every stage in order; the last one gives the folder its name."""
        read_tally, shards = self._read()
        sifted = self._sift(shards)
        tried, execution = self._try(shards)
        decisions = decide(shards, tried, self.dataset.recipe.contamination.drop)
        tally = total([read_tally, sifted, decisions.tally])
        chosen = self._choose(shards, decisions, tally)
        duplicates = self._compare(shards, chosen, decisions)
        pairs = duplicate_pairs(duplicates, shards, tally)
        left_out = pq.read_table(duplicates, columns=["left_out"])["left_out"].to_numpy()
        shares = blending.without(chosen, left_out)
        finds = touched(decisions.found, set(blending.absent(shares).tolist()))
        blended = self._blend(shares)
        self._finish(
            summarise(self.dataset, tally, finds, execution, pairs, duplicates, blended),
            duplicates,
        )

    def _read(self) -> tuple[Tally, list[Shard]]:
        sources = self.dataset.recipe.sources
        found = [part for name, source in sources.items() for part in parts(name, source, TRAIN)]
        folder = self._stage("read")
        tally = total(self._each("reading", partial(read, folder), list(enumerate(found))))
        return tally, self._shards(found)

    def _shards(self, found: Sequence[Part]) -> list[Shard]:
        sifted = self._stage("sift")
        return [
            Shard(
                number=number,
                source=found[part].name,
                read=path,
                sifted=sifted / f"{number:06d}.parquet",
            )
            for number, (part, path) in enumerate(self.folder.read_shards())
        ]

    def _sift(self, shards: Sequence[Shard]) -> Tally:
        recipe = self.dataset.recipe
        index = Index.build(self._problems(), recipe.contamination)
        sieve = Sieve(recipe.filters, index, recipe.duplicates)
        return total(self._each("filters and benchmarks", partial(sift_shard, sieve), shards))

    def _try(self, shards: Sequence[Shard]) -> tuple[dict[int, Tried], Execution]:
        recipe = self.dataset.recipe
        cases = Cases.read(recipe.execution.cases, TRAIN)
        trier = Trier.of(recipe.execution, cases, self._problems(), self._stage("try"))
        chosen = choose(trier, shards, recipe.contamination)
        with closing(trier.bench):
            tried = self._each("running rows", partial(try_rows, trier), chosen.trials)
        outcomes = convincing(by_shard(chosen, tried), trier, self.crew)
        return outcomes, executed(chosen, outcomes.values())

    def _problems(self) -> dict[str, tuple[Problem, ...]]:
        return {questions.name: questions.problems for questions in self.dataset.against}

    def _choose(
        self, shards: Sequence[Shard], decisions: Decisions, tally: Tally
    ) -> list[blending.Share]:
        refused = np.array(decisions.refused, dtype=np.int64)
        shares = blending.shares(shards, refused, self.dataset.recipe.sources)
        limited = np.setdiff1d(blending.absent(shares), refused) // SHARD_ROWS
        for shard, rows in zip(shards, np.bincount(limited, minlength=len(shards)), strict=True):
            tally.count(shard.source, "mixture", "limit or weight", int(rows))
        return shares

    def _compare(
        self, shards: Sequence[Shard], chosen: Sequence[blending.Share], decisions: Decisions
    ) -> Path:
        return find_duplicates(
            [shard.sketch for shard in shards],
            self.dataset.recipe.duplicates,
            self.folder.work,
            self._running("duplicates"),
            refused=blending.absent(chosen).tolist(),
            passed=decisions.passed,
        )

    def _blend(self, shares: Sequence[blending.Share]) -> dict[str, blending.Blended]:
        write = partial(blending.blend, self._stage("rows"))
        return blending.together(self._each("writing", write, shares))

    def _finish(self, report: Report, duplicates: Path) -> None:
        if not report.rows_out:
            raise UserError(f"{self.dataset.name}: no row is left.\n  {_reasons(report)}")
        done = self.folder.work / "done"
        shutil.rmtree(done, ignore_errors=True)
        done.mkdir()
        (done / "report.json").write_text(json.dumps(asdict(report), indent=1))
        (done / "README.md").write_text(dataset_card(report), encoding="utf-8")
        duplicates.rename(done / "duplicates.parquet")
        (self.folder.work / "rows").rename(done / "rows")
        done.rename(self.folder.path)
        shutil.rmtree(self.folder.work)

    def _stage(self, name: str) -> Path:
        path = self.folder.work / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _each(
        self, stage: str, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> list[Result]:
        """The results, in the order of the items."""
        return [result for _, result in sorted(self._running(stage)(function, items), key=_place)]

    def _running(self, stage: str) -> "_Running":
        quick = stage in QUICK and len(self.folder.sifted()) <= FEW_SHARDS
        crew = Alone() if quick else self.crew
        return _Running(f"{self.dataset.name}: {stage}", crew, self.told)


@dataclass(frozen=True, slots=True)
class _Running:
    """A crew whose progress is told."""

    label: str
    crew: Crew
    told: Told

    def __call__(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        for done, found in enumerate(self.crew.run(function, items), 1):
            self.told(self.label, done, len(items))
            yield found


def _place(found: tuple[int, object]) -> int:
    return found[0]


def _reasons(report: Report) -> str:
    return "\n  ".join(
        one_line(
            f"{drop.source}, {drop.step}, {drop.reason}: {drop.rows} rows, such as "
            f"{drop.examples[0] if drop.examples else '-'}"
        )
        for drop in report.drops
    )


@contextmanager
def _one_at_a_time(folder: DataFolder) -> Iterator[None]:
    """Others that prepare the same dataset in this home wait, and find it done."""
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    with folder.path.with_name(f".{folder.path.name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
