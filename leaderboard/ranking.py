"""From entries to the ranked table, its order and its files. Every function is pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from database.costs import Price
from database.exchange import in_words, rank_in_words
from database.facts import Standing
from database.in_view import family_size
from leaderboard import links, marks
from leaderboard.entries import Entry, size_words
from leaderboard.words import (
    NONE,
    count,
    coverage,
    difference,
    interval,
    percent,
    plain,
    tuning,
)

LAST = float("inf")
ORDERS: dict[str, Callable[[Entry], Any]] = {
    "Score": lambda entry: -entry.standing.result.value,
    "Gain over base": lambda entry: -_gain(entry.standing),
    "Model": lambda e: (e.standing.result.model.lower(), -e.standing.result.value),
    "Newest": lambda entry: -entry.standing.recorded_at.timestamp(),
    "GPU hours": lambda entry: _last(entry.cost.gpu_hours if entry.cost else None),
    "Speed": lambda entry: -(_speed(entry) or 0.0),
    "Size": lambda entry: _last(entry.size),
}
"""What the table can be sorted by; ties keep the order of the scores, what is not known is last."""
SIGNS = {"better": ("▲", "green"), "worse": ("▼", "red")}
"""A shape and a colour for each verdict that names a direction."""


def contracts(standings: Sequence[Standing]) -> list[str]:
    """Return the contracts, the one with most scores first, then the one scored last."""
    scores = Counter(standing.result.contract for standing in standings)
    newest = {s.result.contract: s.recorded_at for s in sorted(standings, key=_recorded)}
    return sorted(scores, key=lambda name: (-scores[name], -newest[name].timestamp()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a column says of one entry."""

    text: str
    """As plain text, for the grid; empty: nothing."""
    markdown: str = ""
    """As Markdown, for the plain table; empty: the text to the letter."""

    @property
    def shown(self) -> str:
        """As Markdown; a dash where there is nothing."""
        return self.markdown or plain(self.text) or NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the board."""

    name: str
    cell: Callable[[Entry], Cell]
    help: str
    at_first: bool = True
    """Whether it is shown before anybody chooses columns."""


def columns(metric: str, price: Price | None) -> list[Column]:
    """Return all columns of a board, in their order.

    Args:
        metric: its name heads the column of the score.
        price: of a GPU hour; None: nothing is said of money.
    """
    return [
        Column(
            name="Rank",
            cell=lambda e: Cell(text=rank_in_words(e.standing.result)),
            help="What 95 of 100 draws of the problems give, among all scores under this contract.",
        ),
        Column(name="Model", cell=_model, help="Opens its run."),
        Column(name=metric, cell=_score, help="Share solved. Opens the problems it is made of."),
        Column(name="Tuning", cell=_tuning, help="Method and dataset, or what else it is."),
        Column(
            name="95 % interval",
            cell=lambda e: Cell(text=interval(e.standing.result.low, e.standing.result.high)),
            help="Over another draw of such problems, not over another training seed.",
        ),
        Column(
            name="vs base",
            cell=_against,
            help="Paired difference on the same problems, its verdict and 95 % interval.",
        ),
        Column(name="Seed", cell=_seed, help="Of the training, and how many its recipe has."),
        Column(
            name="Problems",
            cell=lambda e: Cell(text=coverage(e.standing)),
            help="Judged, of those asked. Fewer: the sandbox failed, or a partial import.",
        ),
        Column(
            name="Flags",
            cell=lambda e: Cell(
                text=", ".join(map(marks.short, e.odd)),
                markdown=" ".join(map(marks.badge, e.odd)),
            ),
            help="What to know before the score is believed; explained below the table.",
        ),
        Column(
            name="Cost",
            cell=lambda e: Cell(text=marks.in_short(e.cost, price) if e.cost else ""),
            help="Time of devices for training and asking, and money where a price is set.",
        ),
        Column(
            name="tok/s",
            cell=lambda e: Cell(text=f"{speed:,.0f}" if (speed := _speed(e)) else ""),
            help="Tokens drawn for each second of a device while it was asked.",
        ),
        Column(
            name="Size",
            cell=lambda e: Cell(text=size_words(e.size)),
            help="Parameters, as the name of the model says.",
            at_first=False,
        ),
        Column(
            name="Experiment",
            cell=lambda e: Cell(text=e.experiment),
            help="That first asked for this run.",
            at_first=False,
        ),
        Column(
            name="Scored",
            cell=lambda e: Cell(text=f"{e.standing.recorded_at:%Y-%m-%d %H:%M}"),
            help="When, in UTC.",
            at_first=False,
        ),
        Column(
            name="Run",
            cell=lambda e: Cell(text=e.run, markdown=f"`{e.run}`"),
            help="Its id, a hash of what made it.",
            at_first=False,
        ),
    ]


def filled(found: Sequence[Column], entries: Sequence[Entry]) -> list[Column]:
    """Return the columns that say something of some entry."""
    return [column for column in found if any(column.cell(entry).text for entry in entries)]


def grid(
    entries: Sequence[Entry], shown: Sequence[Column], indented: Iterable[str] = ()
) -> list[dict[str, str | float]]:
    """Return the rows of the grid, plain text; the score is a number, in percent.

    Args:
        entries: in the order of the rows.
        shown: the columns.
        indented: ids of the runs that stand below their base.
    """
    below = set(indented)
    rows = []
    for entry in entries:
        row: dict[str, str | float] = {column.name: column.cell(entry).text for column in shown}
        metric = entry.standing.result.metric
        if metric in row:
            row[metric] = round(100 * entry.standing.result.value, 1)
        if entry.run in below:
            row["Model"] = f"↳ {row['Model']}"
        rows.append(row)
    return rows


def table(
    entries: Sequence[Entry], shown: Sequence[Column], indented: Iterable[str] = ()
) -> list[dict[str, str]]:
    """Return the rows of the plain table; see `grid`, but cells are Markdown."""
    below = set(indented)
    rows = [{column.name: column.cell(entry).shown for column in shown} for entry in entries]
    for row, entry in zip(rows, entries, strict=True):
        if entry.run in below:
            row["Model"] = f"↳\u00a0{row['Model']}"
    return rows


def ordered(entries: Sequence[Entry], order: str) -> list[Entry]:
    """Return the entries in the order of the table."""
    return sorted(entries, key=ORDERS[order])


def grouped(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """Return entries with each base right above its adapters, and the ids of those adapters.

    Groups come in the order of their first member; an adapter without its base stays alone.
    """
    bases = {entry.run for entry in entries if entry.standing.kind == "base"}
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        base = entry.standing.result.base
        groups.setdefault(base if base in bases else entry.run, []).append(entry)
    in_order = [
        entry
        for base, members in groups.items()
        for entry in sorted(members, key=lambda entry: entry.run != base)
    ]
    return in_order, [entry.run for entry in in_order if entry.standing.result.base in bases]


def evidence(entry: Entry) -> str:
    """Return the address of the problems that a score is made of."""
    result = entry.standing.result
    return links.address(
        "problems", benchmark=result.benchmark, contract=result.contract, run=result.run
    )


def headline(standings: Sequence[Standing]) -> str:
    """Return one sentence: did the tuning help?"""
    compared = [s for s in standings if s.result.delta is not None]
    if not compared:
        return f"{count(len(standings), 'score')}; no tuned model has a base to compare with yet."
    verdicts = Counter(s.result.verdict for s in compared)
    better, number = verdicts["better"], count(len(compared), "tuned model")
    verb = "is" if 1 in (better, len(compared)) else "are"
    said = [f"{better} of {number} {verb} better than the base"]
    if verdicts["worse"]:
        said.append(f"{verdicts['worse']} worse")
    if verdicts["no clear difference"]:
        said.append(f"{verdicts['no clear difference']} with no clear difference")
    if verdicts["not comparable"]:
        said.append(f"{verdicts['not comparable']} not comparable with it")
    return ", ".join(said) + "."


def covers(standings: Sequence[Standing]) -> str:
    """Return what the intervals, ranks and verdicts of a board stand for.

    Args:
        standings: all of the board, whatever the filters leave.
    """
    ranked = sum(s.result.rank_low is not None for s in standings)
    ranks = (
        "; ranks are what 95 of 100 draws of the problems give, among all "
        f"{count(ranked, 'score')} under this contract, whatever the filters show"
    )
    said = [f"Intervals are 95 %, over problems{ranks if ranked > 1 else ''}."]
    if any(s.result.coverage < 1 for s in standings):
        said.append("Scores without a verdict on every problem are neither ranked nor compared.")
    if (number := family_size(standings)) > 1:
        said.append(
            f"A model is called better or worse at p < 0.05 over all {number} comparisons with a "
            "base under this contract (Holm), whatever the filters show."
        )
    return " ".join(said)


def paper_rows(entries: Sequence[Entry]) -> list[dict[str, object]]:
    """Return the rows of the table for a paper."""
    return [
        {
            "Rank": rank_in_words(entry.standing.result),
            "Model": entry.standing.result.model,
            "Tuning": tuning(entry.standing.result),
            "Seed": "" if entry.standing.kind == "base" else entry.standing.result.seed,
            f"{entry.standing.result.metric} (%)": f"{100 * entry.standing.result.value:.1f}",
            "95 % interval": _spaced(
                interval(entry.standing.result.low, entry.standing.result.high)
            ),
            "Against its base": _for_paper(entry.standing),
        }
        for entry in entries
    ]


def _for_paper(standing: Standing) -> str:
    result = standing.result
    if result.why:
        return f"not comparable: {result.why}"
    return in_words(result.delta, result.verdict) if result.delta else ""


def _spaced(text: str) -> str:
    return text.replace("\u00a0", " ")


def _model(entry: Entry) -> Cell:
    result = entry.standing.result
    return Cell(text=result.model, markdown=links.run_link(result.run, result.model))


def _tuning(entry: Entry) -> Cell:
    base = entry.standing.kind == "base"
    return Cell(text=tuning(entry.standing.result), markdown=":gray-badge[base]" if base else "")


def _score(entry: Entry) -> Cell:
    result = entry.standing.result
    said = percent(result.value)
    opened = evidence(entry)
    return Cell(text=said, markdown=f"[**{said}**]({opened})")


def _against(entry: Entry) -> Cell:
    """The difference with a shape and a colour, neither of which is the only sign."""
    result = entry.standing.result
    if result.why:
        return Cell(text=f"not comparable: {result.why}")
    if result.delta is None:
        return Cell(text="no score of its base yet" if result.base else "")
    mark, colour = SIGNS.get(result.verdict or "", ("", ""))
    said = f"{mark}\u00a0{difference(result.delta, result.verdict)}".lstrip()
    opened = links.address(
        "compare",
        a=result.run,
        b=result.base,
        benchmark=result.benchmark,
        metric=result.metric,
        contract=result.contract,
    )
    shown = f":{colour}[{said}]" if colour else said
    return Cell(text=said, markdown=f"[{shown}]({opened})")


def _seed(entry: Entry) -> Cell:
    if entry.standing.kind == "base":
        return Cell(text="")
    several = f" of {entry.seeds} seeds" if entry.seeds > 1 else ""
    return Cell(text=f"{entry.standing.result.seed}{several}")


def _gain(standing: Standing) -> float:
    delta = standing.result.delta
    return delta.value if delta and delta.value is not None else -2.0


def _speed(entry: Entry) -> float | None:
    return entry.cost.tokens_per_second if entry.cost else None


def _last(value: float | None) -> float:
    return LAST if value is None else value


def _recorded(standing: Standing) -> float:
    return standing.recorded_at.timestamp()
