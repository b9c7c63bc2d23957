"""What is odd about a score, counted when read: it may be no fault of the model, or no merit.

Counts are over the answers of a run to one benchmark under one contract. Published thresholds are
not known; ours stand beside the kinds that have one.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import Engine, and_, distinct, func, select

from database.facts import Standing
from database.rows import rows_of
from database.schema import Answered, Contract, Problem, Run, Score, Tally
from database.training_data import exposures

MOST_WITHOUT_PROGRAM = 0.05
MOST_CUT = 0.05
MOST_IDENTICAL = 0.95
"""Shares of answers above which they are told."""

Kind = Literal["extraction", "empty", "length", "identical", "overlap", "prefilled", "older"]
Key = tuple[str, str, str, str]
"""Run, benchmark, asking, judging."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """One thing that is odd about a score."""

    kind: Kind
    count: int
    """Answers or problems that it is true of."""
    of: int
    """Of so many."""
    words: str
    """The same as a sentence without its full stop."""

    @property
    def share(self) -> float:
        """In [0, 1]."""
        return self.count / self.of if self.of else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """The scores in view, as every count needs them."""

    keys: Mapping[Key, Standing]
    answered: Mapping[Key, Any]
    """Rows of `Answered`: theirs, and those of their bases."""

    def counted(self) -> Iterator[tuple[Key, Any]]:
        """Return the scores in view whose answers are counted."""
        for key in self.keys:
            if key in self.answered:
                yield key, self.answered[key]

    @property
    def runs(self) -> set[str]:
        return {run for run, *_ in self.keys}

    @property
    def benchmarks(self) -> set[str]:
        return {benchmark for _, benchmark, *_ in self.keys}

    @property
    def askings(self) -> set[str]:
        return {asking for *_, asking, _ in self.keys}


def _view(engine: Engine, standings: Sequence[Standing]) -> _View:
    keys = {key_of(standing): standing for standing in standings}
    runs = {run for s in standings for run in (s.result.run, s.result.base or s.result.run)}
    wanted = select(Answered.__table__).where(
        Answered.benchmark.in_({s.result.benchmark for s in standings}),
        Answered.asking.in_({s.asking for s in standings}),
        Answered.run.in_(runs),
    )
    return _View(keys=keys, answered={_key(row): row for row in rows_of(engine, wanted)})


def key_of(standing: Standing) -> Key:
    """Return what a score's anomalies are found by; scores of one contract share them."""
    return standing.result.run, standing.result.benchmark, standing.asking, standing.judging


def anomalies(engine: Engine, standings: Sequence[Standing]) -> dict[Key, tuple[Anomaly, ...]]:
    """Return what is odd about scores, in the order of `Kind`; those with nothing are left out.

    A run is compared with its base by the first answer to each problem: their seeds are the same,
    so an adapter that was not loaded gives the same text, whatever the temperature.
    """
    if not standings:
        return {}
    view = _view(engine, standings)
    found: dict[Key, list[Anomaly]] = defaultdict(list)
    for count in (_without_program, _as_written, _like_the_base, _overlaps, _prefilled, _older):
        for key, anomaly in count(engine, view):
            if key in view.keys:
                found[key].append(anomaly)
    return {key: tuple(listed) for key, listed in found.items()}


def flagged(
    standings: Sequence[Standing], found: Mapping[Key, Sequence[Anomaly]]
) -> list[Standing]:
    """Return scores with the kinds of what is odd about them."""
    return [
        replace(s, result=replace(s.result, flags=tuple(one.kind for one in found[key_of(s)])))
        if key_of(s) in found
        else s
        for s in standings
    ]


Counted = list[tuple[Key, Anomaly]]


def _without_program(_engine: Engine, view: _View) -> Counted:
    """Answers in which the extraction that was asked for found no program."""
    words = "no program was found in {} answers"
    return [
        (key, _anomaly("extraction", row.without_program, row.answers, words))
        for key, row in view.counted()
        if row.without_program > MOST_WITHOUT_PROGRAM * row.answers
    ]


def _as_written(_engine: Engine, view: _View) -> Counted:
    """Answers without a word, and those that their length limit cut off."""
    found: Counted = []
    for key, row in view.counted():
        if row.blank:
            words = "{} answers are empty"
            found.append((key, _anomaly("empty", row.blank, row.answers, words)))
        if row.cut > MOST_CUT * row.answers:
            words = "{} answers were cut off at the length limit"
            found.append((key, _anomaly("length", row.cut, row.answers, words)))
    return found


def _like_the_base(_engine: Engine, view: _View) -> Counted:
    """Tuned runs whose first answers are, nearly all of them, those of their base."""
    first = {key[:3]: row.first for key, row in view.answered.items()}
    words = "{} first answers are those of its base to the letter: was the adapter loaded?"
    found: Counted = []
    for key, row in view.counted():
        theirs = first.get((view.keys[key].result.base or "", *key[1:3]), {})
        both = row.first.keys() & theirs.keys()
        same = sum(row.first[task_id] == theirs[task_id] for task_id in both)
        if same > MOST_IDENTICAL * len(both):
            found.append((key, _anomaly("identical", same, len(both), words)))
    return found


def _overlaps(engine: Engine, view: _View) -> Counted:
    """Problems that rows trained on touch."""
    found: Counted = []
    for benchmark in sorted(view.benchmarks):
        for one in exposures(engine, benchmark=benchmark):
            standing = view.keys.get((one.run, one.benchmark, one.asking, one.judging))
            if standing is not None and one.problems:
                words = "{} problems are touched by rows it was trained on"
                anomaly = _anomaly("overlap", one.problems, standing.asked, words)
                found.append((key_of(standing), anomaly))
    return found


def _prefilled(engine: Engine, view: _View) -> Counted:
    """Tuned runs and bases that were asked the same benchmark, one of them told the function."""
    tuned = {key: s for key, s in view.keys.items() if s.result.base}
    if not tuned:
        return []
    asked: dict[tuple[str, str], set[str]] = defaultdict(set)
    of_bases = select(Score.run, Score.benchmark, Score.asking).where(
        Score.run.in_({s.result.base for s in tuned.values()}),
        Score.benchmark.in_(view.benchmarks),
    )
    for row in rows_of(engine, of_bases.distinct()):
        asked[row.run, row.benchmark].add(row.asking)
    ids = view.askings.union(*asked.values())
    contracts = select(Contract.id, Contract.content).where(Contract.id.in_(ids))
    named = {row.id: names_function(row.content) for row in rows_of(engine, contracts)}
    found: Counted = []
    for key, standing in tuned.items():
        base = asked.get((standing.result.base or "", standing.result.benchmark), set())
        ours = named.get(standing.asking)
        if base and all({ours, named.get(one)} == {True, False} for one in base):
            side = "it, not its base," if ours else "its base, and not it,"
            words = f"{side} was given the head of the function to begin with"
            asked_of = standing.asked
            anomaly = Anomaly(kind="prefilled", count=asked_of, of=asked_of, words=words)
            found.append((key, anomaly))
    return found


def names_function(asking: Mapping[str, Any]) -> bool | None:
    """Return whether an asking contract lets answers go on from the head of the function.

    None where it does not say how models were asked.
    """
    prompt = asking.get("prompt")
    if isinstance(prompt, Mapping):
        return bool(prompt.get("continues"))
    if isinstance(prompt, str):  # contracts of an older version name the form alone
        return prompt == "completion" or prompt.endswith("-signature")
    return None


def _older(engine: Engine, view: _View) -> Counted:
    """Problems that were published before the model, and may be in what it was trained on."""
    dated = select(Run.id).where(Run.id.in_(view.runs), Run.released.is_not(None))
    runs = [row.id for row in rows_of(engine, dated)]
    if not runs:
        return []
    key = (Score.run, Score.benchmark, Score.asking, Score.judging)
    wanted = (
        select(*key, func.max(Score.asked).label("asked"), _distinct_problems())
        .join(Run, Run.id == Score.run)
        .join(Contract, Contract.id == Score.judging)
        .join(
            Problem,
            and_(
                Problem.benchmark == Score.benchmark,
                Problem.digest == Contract.content["sha256"].as_string(),
                Problem.released <= Run.released,
            ),
        )
        .join(
            Tally,
            and_(
                Tally.benchmark == Score.benchmark,
                Tally.asking == Score.asking,
                Tally.judging == Score.judging,
                Tally.run == Score.run,
                Tally.task_id == Problem.task_id,
            ),
        )
        .where(Score.run.in_(runs), Score.benchmark.in_(view.benchmarks))
        .group_by(*key)
    )
    words = "{} problems are older than the model, which may have learnt them"
    return [
        (_key(row), _anomaly("older", row.problems, row.asked, words))
        for row in rows_of(engine, wanted)
    ]


def _key(row: Any) -> Key:
    return row.run, row.benchmark, row.asking, row.judging


def _distinct_problems() -> Any:
    return func.count(distinct(Problem.task_id)).label("problems")


def _anomaly(kind: Kind, count: int, of: int, words: str) -> Anomaly:
    return Anomaly(kind=kind, count=count, of=of, words=words.format(f"{count:,} of {of:,}"))
