"""What an import says when it is done: our score, theirs, and where the verdicts differ."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from sqlalchemy import Engine

from database import schema
from database.facts import Standing
from database.published import Agreement, agreement, published_scores
from database.queries import contract, outcomes
from database.standings import standings

_SHOWN = 30
"""Differing verdicts that are written out; the run's page has all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """An import that is recorded."""

    run: str
    name: str
    benchmark: str
    asking: str
    judging: str
    answers: int
    problems: int
    """Of the benchmark."""
    left_out: Mapping[str, int]
    unknown: str
    unread: int
    """Answers with no verdict of the publisher's that is understood."""
    judged: bool
    """False: its scores were in the ledger already."""
    seconds: float


def tell(ledger: Engine, told: Imported, console: Console) -> None:
    """Print what is in the ledger of an import."""
    for line in _lines(ledger, told):
        console.print(escape(line), highlight=False, soft_wrap=True)


def tell_training(name: str, run: str, rows: Sequence[schema.Row], console: Console) -> None:
    """Print what there is of a training's curve."""
    steps = [row for row in rows if isinstance(row, schema.Step)]
    losses = [step.loss for step in steps if step.loss is not None]
    ends = f", loss {losses[0]:.3f} to {losses[-1]:.3f}" if losses else ""
    said = f"{name}, run {run}: {len(steps)} logged steps up to step {steps[-1].step}{ends}"
    console.print(escape(said), highlight=False, soft_wrap=True)


def _lines(ledger: Engine, told: Imported) -> list[str]:
    scores = [
        standing
        for standing in standings(ledger, run=told.run, benchmark=told.benchmark)
        if (standing.asking, standing.judging) == (told.asking, told.judging)
    ]
    done = f"{told.seconds:.1f} s" if told.judged else "recorded before, nothing judged again"
    return [
        f"{told.name} on {told.benchmark}, run {told.run}: {done}",
        f"  {_outcomes(ledger, told)}",
        *_left_out(told, scores),
        f"  judged by {_contract(contract(ledger, told.judging) or {})}",
        *_scores(ledger, told, scores),
        *_unread(told),
        *_differences(agreement(ledger, told.run, told.benchmark, told.asking, told.judging)),
    ]


def _outcomes(ledger: Engine, told: Imported) -> str:
    key = {"asking": told.asking, "judging": told.judging}
    counts = outcomes(ledger, told.run, told.benchmark, **key)
    each = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"{counts.get('passed', 0)} of {told.answers} answers passed ({each})"


def _left_out(told: Imported, scores: Sequence[Standing]) -> list[str]:
    lines = [f"  left out: {count} {why}" for why, count in told.left_out.items()]
    if told.unknown:
        lines.append(f"    the first: {told.unknown}")
    covered = scores[0].result.problems if scores else told.problems
    if covered != told.problems:
        lines.append(
            f"  only {covered} of {told.problems} problems have answers: the score is over these, "
            "and no difference to another run is claimed"
        )
    return lines


def _contract(content: Mapping[str, object]) -> str:
    limits = content.get("limits")
    known = limits if isinstance(limits, dict) else {}
    return (
        f"preamble {content.get('preamble')}, extraction {content.get('extract')}, "
        f"{known.get('cpu_seconds')} s of CPU or {known.get('cpu_factor')} times the reference's, "
        f"Python {content.get('interpreter')}, judge {content.get('judge_version')}"
    )


def _scores(ledger: Engine, told: Imported, scores: Sequence[Standing]) -> list[str]:
    facts = published_scores(ledger, run=told.run, benchmark=told.benchmark)
    theirs = {fact.metric: fact for fact in facts}
    lines = []
    for standing in scores:
        ours = standing.result
        line = (
            f"  {ours.metric}: ours {100 * ours.value:.1f} % "
            f"({100 * ours.low:.1f} to {100 * ours.high:.1f})"
        )
        if fact := theirs.pop(ours.metric, None):
            line += f", published {100 * fact.value:.1f} % ({fact.source or 'no source given'})"
        lines.append(line)
    return lines + [
        f"  {fact.metric}: published {100 * fact.value:.1f} %, not scored here"
        for fact in theirs.values()
    ]


def _unread(told: Imported) -> list[str]:
    if told.unread in (0, told.answers):
        return []
    return [
        f"  {told.unread} of {told.answers} answers have no verdict, or one we cannot read, so no "
        "score is counted from the others"
    ]


def _differences(found: Agreement) -> list[str]:
    if not found.compared:
        return ["  no published verdicts"]
    lines = [f"  {len(found.differing)} of {found.compared} verdicts differ from the publisher's"]
    causes = Counter((one.claimed, one.cause) for one in found.differing)
    for (claimed, cause), count in causes.most_common():
        lines.append(f"    {count} x {'theirs' if claimed else 'ours'} alone passes: {cause}")
    for one in found.differing[:_SHOWN]:
        ours = f"{one.outcome} {one.detail}".strip()
        theirs = "passed" if one.claimed else "failed"
        said = f" ({one.said})" if one.said else ""
        lines.append(f"    {one.task_id}: ours {ours}; theirs {theirs}{said}")
    if len(found.differing) > _SHOWN:
        lines.append(f"    and {len(found.differing) - _SHOWN} more on the run's page")
    return lines
