"""What is odd about a score, counted when read: it may be no fault of the model, or no merit.

Counts are over the answers of a run to one benchmark under one contract. Published thresholds are
not known; ours stand beside the kinds that have one.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Engine, and_, case, distinct, func, select
from sqlalchemy.orm import aliased

from database.facts import Standing
from database.rows import rows_of
from database.schema import Completion, Contract, Problem, Run, Score, Verdict
from database.training_data import exposures

MOST_WITHOUT_PROGRAM = 0.05
MOST_CUT = 0.05
MOST_IDENTICAL = 0.95
"""Shares of answers above which they are told."""
BLANK = " \t\r\n"

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

    standings: Sequence[Standing]

    @property
    def keys(self) -> dict[Key, Standing]:
        return {key_of(standing): standing for standing in self.standings}

    def all_of(self, attribute: Callable[[Standing], Any]) -> set[Any]:
        return {attribute(standing) for standing in self.standings}

    @property
    def runs(self) -> set[str]:
        return self.all_of(lambda s: s.result.run)

    @property
    def benchmarks(self) -> set[str]:
        return self.all_of(lambda s: s.result.benchmark)

    @property
    def askings(self) -> set[str]:
        return self.all_of(lambda s: s.asking)

    @property
    def judgings(self) -> set[str]:
        return self.all_of(lambda s: s.judging)

    def answers(self, table: Any = Completion) -> Any:
        """Which completions are in view; the index `ix_completions_counted` finds them."""
        return and_(
            table.benchmark.in_(self.benchmarks),
            table.asking.in_(self.askings),
            table.run.in_(self.runs),
        )


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
    view = _View(standings=standings)
    found: dict[Key, list[Anomaly]] = defaultdict(list)
    for count in (_without_program, _as_written, _like_the_base, _overlaps, _prefilled, _older):
        for key, anomaly in count(engine, view):
            if key in view.keys:
                found[key].append(anomaly)
    return {key: tuple(listed) for key, listed in found.items()}


Counted = list[tuple[Key, Anomaly]]


def _without_program(engine: Engine, view: _View) -> Counted:
    """Answers in which the extraction that was asked for found no program."""
    key = (Completion.run, Completion.benchmark, Completion.asking, Verdict.judging)
    without = func.sum(case((Verdict.extracted.is_(False), 1), else_=0)).label("without")
    wanted = (
        select(*key, func.count().label("answers"), without)
        .join(Verdict, Verdict.completion == Completion.id)
        .where(view.answers(), Verdict.judging.in_(view.judgings), Verdict.extracted.is_not(None))
        .group_by(*key)
    )
    return [
        (
            (row.run, row.benchmark, row.asking, row.judging),
            _anomaly("extraction", row.without, row.answers, "no program was found in {} answers"),
        )
        for row in rows_of(engine, wanted)
        if row.without > MOST_WITHOUT_PROGRAM * row.answers
    ]


def _as_written(engine: Engine, view: _View) -> Counted:
    """Answers without a word, and those that their length limit cut off."""
    key = (Completion.run, Completion.benchmark, Completion.asking)
    blank = func.trim(Completion.text, BLANK) == ""
    wanted = (
        select(
            *key,
            func.count().label("answers"),
            func.sum(case((blank, 1), else_=0)).label("empty"),
            func.sum(case((Completion.finish == "length", 1), else_=0)).label("cut"),
        )
        .where(view.answers())
        .group_by(*key)
    )
    rows = {(row.run, row.benchmark, row.asking): row for row in rows_of(engine, wanted)}
    found: Counted = []
    for key_ in view.keys:
        row = rows.get(key_[:3])
        if row is not None and row.empty:
            said = _anomaly("empty", row.empty, row.answers, "{} answers are empty")
            found.append((key_, said))
        if row is not None and row.cut > MOST_CUT * row.answers:
            words = "{} answers were cut off at the length limit"
            found.append((key_, _anomaly("length", row.cut, row.answers, words)))
    return found


def _like_the_base(engine: Engine, view: _View) -> Counted:
    """Tuned runs whose first answers are, nearly all of them, those of their base."""
    ours, theirs = aliased(Completion), aliased(Completion)
    key = (ours.run, ours.benchmark, ours.asking)
    wanted = (
        select(
            *key,
            func.count().label("answers"),
            func.sum(case((ours.text == theirs.text, 1), else_=0)).label("same"),
        )
        .join(Run, Run.id == ours.run)
        .join(
            theirs,
            and_(
                theirs.benchmark == ours.benchmark,
                theirs.asking == ours.asking,
                theirs.run == Run.base_run,
                theirs.task_id == ours.task_id,
                theirs.position == 0,
            ),
        )
        .where(view.answers(ours), ours.position == 0)
        .group_by(*key)
    )
    rows = {(row.run, row.benchmark, row.asking): row for row in rows_of(engine, wanted)}
    words = "{} first answers are those of its base to the letter: was the adapter loaded?"
    return [
        (key_, _anomaly("identical", row.same, row.answers, words))
        for key_ in view.keys
        if (row := rows.get(key_[:3])) and row.same > MOST_IDENTICAL * row.answers
    ]


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
            Completion,
            and_(
                Completion.benchmark == Score.benchmark,
                Completion.asking == Score.asking,
                Completion.run == Score.run,
                Completion.task_id == Problem.task_id,
            ),
        )
        .where(Score.run.in_(view.runs), Score.benchmark.in_(view.benchmarks))
        .where(Run.released.is_not(None))
        .group_by(*key)
    )
    words = "{} problems are older than the model, which may have learnt them"
    return [
        (
            (row.run, row.benchmark, row.asking, row.judging),
            _anomaly("older", row.problems, row.asked, words),
        )
        for row in rows_of(engine, wanted)
    ]


def _distinct_problems() -> Any:
    return func.count(distinct(Problem.task_id)).label("problems")


def _anomaly(kind: Kind, count: int, of: int, words: str) -> Anomaly:
    return Anomaly(kind=kind, count=count, of=of, words=words.format(f"{count:,} of {of:,}"))
