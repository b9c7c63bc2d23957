"""Problems by runs: what is drawn, listed and downloaded of it. Every function is pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pvariance
from typing import Any

import altair as alt

from database.problems import ProblemName, ScoredRun
from database.scores import ProblemResult
from database.suspects import Suspicion, suspicions
from leaderboard import untrusted
from leaderboard.links import problem_link, run_link
from leaderboard.words import NONE, count, percent, plain

CELLS_AT_MOST = 4_000
"""Of the heat map: it is sent to the browser as a whole."""
NAMED_AT_MOST = 40
"""With more problems their names no longer fit under the heat map."""
RUNS_AT_MOST = 20
CELL = "cell"
"""What the cell that is clicked is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What runs made of one problem."""

    problem: ProblemName
    results: Mapping[str, ProblemResult]
    """By run; one without a verdict on it is left out."""
    suspicion: Suspicion | None = None

    @property
    def share(self) -> float:
        """Mean over runs of the share of their answers that pass, in [0, 1]."""
        return fmean(map(share_of, self.results.values()))

    @property
    def disagreement(self) -> float:
        """Variance of those shares over runs, in [0, 0.25]."""
        return pvariance(map(share_of, self.results.values()))

    @property
    def solvers(self) -> list[str]:
        """Runs of which an answer passes."""
        return [run for run, result in self.results.items() if result.passed]

    @property
    def suspect(self) -> bool:
        """Whether better runs solve it less."""
        return self.suspicion is not None and self.suspicion.suspect


Order = Callable[[Row], Any]
ORDERS: dict[str, tuple[str, Order]] = {
    "Difficulty": ("the hardest first", lambda row: (row.share, row.problem.position)),
    "Disagreement": (
        "where runs differ most first",
        lambda row: (-row.disagreement, row.problem.position),
    ),
    "File order": ("as in the benchmark's file", lambda row: row.problem.position),
    "Name": ("by name", lambda row: row.problem.task_id),
}
SHOWN: dict[str, Callable[[Row], bool]] = {
    "All": lambda row: True,
    "Solved by none": lambda row: not row.solvers,
    "Solved by one": lambda row: len(row.solvers) == 1,
    "Solved by all": lambda row: len(row.solvers) == len(row.results),
    "Suspect": lambda row: row.suspect,
}


def share_of(result: ProblemResult) -> float:
    """Return the share of a problem's answers that pass, in [0, 1]."""
    return result.passed / result.completions


def usual_runs(runs: Sequence[ScoredRun]) -> list[str]:
    """Return the runs that are shown where none is chosen: all, or the best and their bases.

    Args:
        runs: the best first.
    """
    if len(runs) <= RUNS_AT_MOST:
        return [run.id for run in runs]
    known = {run.id for run in runs}
    chosen: dict[str, None] = {}
    for run in runs:
        wanted = [run.id, *([run.base_run] if run.base_run in known else [])]
        if len(chosen.keys() | set(wanted)) <= RUNS_AT_MOST:
            chosen |= dict.fromkeys(wanted)
    return [run.id for run in runs if run.id in chosen]


def rows_of(
    names: Sequence[ProblemName], results: Mapping[str, Sequence[ProblemResult]]
) -> list[Row]:
    """Return a row for each problem that any run has a verdict on, in the order of the file."""
    by_task: dict[str, dict[str, ProblemResult]] = {}
    for run, of_run in results.items():
        for result in of_run:
            by_task.setdefault(result.task_id, {})[run] = result
    known = {name.task_id: name for name in names}
    unknown = [_unnamed(task_id) for task_id in sorted(by_task.keys() - known.keys())]
    found = [Row(problem=n, results=by_task[n.task_id]) for n in [*unknown, *names]
             if n.task_id in by_task]  # fmt: skip
    return _with_suspicion(found, list(results))


def _unnamed(task_id: str) -> ProblemName:
    return ProblemName(task_id=task_id, position=-1, family="", released=None)


def _with_suspicion(rows: Sequence[Row], runs: Sequence[str]) -> list[Row]:
    """The rows with how solving each goes with skill, over the runs judged on all of them."""
    whole = [run for run in runs if all(run in row.results for row in rows)]
    found = suspicions([[share_of(row.results[run]) for row in rows] for run in whole])
    return [
        Row(problem=row.problem, results=row.results, suspicion=suspicion)
        for row, suspicion in zip(rows, found or [None] * len(rows), strict=True)
    ]


def whole_runs(rows: Sequence[Row]) -> int:
    """Return how many runs have a verdict on every problem."""
    judged = Counter(run for row in rows for run in row.results)
    return sum(number == len(rows) for number in judged.values())


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """Return how many problems each choice of `SHOWN` has."""
    return {name: sum(map(wanted, rows)) for name, wanted in SHOWN.items()}


def ordered(rows: Sequence[Row], order: str) -> list[Row]:
    """Return the rows in a named order."""
    return sorted(rows, key=ORDERS[order][1])


def heat_map(rows: Sequence[Row], names: Mapping[str, str]) -> alt.Chart:
    """Draw the share of passing answers: a column for each problem, a line for each run.

    Args:
        rows: left to right.
        names: of the runs by id, top to bottom.
    """
    cells = [
        {"problem": row.problem.task_id, "run": names[run], "share": round(share_of(result), 3),
         "passed": f"{result.passed} of {result.completions}"}
        for row in rows for run, result in row.results.items() if run in names
    ]  # fmt: skip
    few = len(rows) <= NAMED_AT_MOST
    across = alt.Axis(title=None, labels=few, ticks=False, domain=False, labelAngle=-60)
    limit: Any = alt.ExprRef("containerSize()[0] < 420 ? 110 : 220")  # a phone needs the room
    down = alt.Axis(title=None, labelLimit=limit, ticks=False, domain=False)
    legend = alt.Legend(title="Answers that pass", orient="top", format="%", gradientLength=160)
    scale = alt.Scale(domain=[0, 1], range=["#D55E00", "#F2E3B3", "#0072B2"])
    return (
        alt.Chart(alt.Data(values=cells), height=alt.Step(24))
        .mark_rect()
        .encode(
            x=alt.X("problem:N", sort=[row.problem.task_id for row in rows], axis=across),
            y=alt.Y("run:N", sort=list(names.values()), axis=down),
            color=alt.Color("share:Q", scale=scale, legend=legend),
            tooltip=["problem:N", "run:N", alt.Tooltip("passed:N", title="answers that pass")],
        )
        .add_params(alt.selection_point(CELL, fields=["problem", "run"]))
    )


def heat_words(rows: Sequence[Row], names: Mapping[str, str]) -> str:
    """Return the heat map in words."""
    said = [
        f"{name} solves {sum(run in row.solvers for row in rows)}" for run, name in names.items()
    ]
    return (
        f"The share of answers that pass, {count(len(rows), 'problem')} by "
        f"{count(len(names), 'run')}; the table below has the numbers. {', '.join(said)}."
    )


def table(
    rows: Sequence[Row],
    names: Mapping[str, str],
    benchmark: str,
    contract: str,
    *,
    numbers: bool,
) -> list[dict[str, str]]:
    """Return the rows of the page's table; cells are Markdown.

    Args:
        rows: problems.
        names: of the runs by id.
        benchmark: of the links.
        contract: of the links.
        numbers: whether each run has a column.
    """
    alone = next(iter(names)) if len(names) == 1 else None  # whose answers are meant then
    return [
        {
            "Problem": problem_link(
                benchmark, contract, row.problem.task_id, untrusted.seen(row.problem.task_id), alone
            ),
            "Answers that pass": percent(row.share),
            "Solved by": _solvers(row, names),
            "Correlation": _correlation(row),
        }
        | ({plain(name): _cell(row, run) for run, name in names.items()} if numbers else {})
        for row in rows
    ]


def _solvers(row: Row, names: Mapping[str, str]) -> str:
    solvers, judged = row.solvers, len(row.results)
    if len(solvers) == 1:
        return f"{run_link(solvers[0], names[solvers[0]])} alone"
    said = "none" if not solvers else "all" if len(solvers) == judged else str(len(solvers))
    return f"{said} of {judged}"


def _cell(row: Row, run: str) -> str:
    result = row.results.get(run)
    return f"{result.passed}/{result.completions}" if result else NONE


def _correlation(row: Row) -> str:
    if row.suspicion is None:
        return NONE
    said = f"{row.suspicion.correlation:+.2f}"
    return f":orange-badge[▼ {said} suspect]" if row.suspect else said


def files(rows: Sequence[Row], names: Mapping[str, str]) -> list[dict[str, object]]:
    """Return the rows as files have them: the numbers of every run."""
    return [
        {
            "problem": row.problem.task_id,
            "family": row.problem.family,
            "share": round(row.share, 4),
            "solved_by": len(row.solvers),
            "runs": len(row.results),
            "correlation": None if row.suspicion is None else round(row.suspicion.correlation, 4),
            "p": None if row.suspicion is None else round(row.suspicion.p, 6),
        }
        | {name: _cell(row, run) for run, name in names.items()}
        for row in rows
    ]
