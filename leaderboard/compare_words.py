"""Two or three runs side by side, as tables and sentences. Every function is pure."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from database.facts import RunFacts, Standing
from database.paired import Pair, Paired, Written
from leaderboard.ranking import contracts
from leaderboard.words import CODE_LIMIT, NONE, difference, plain

SHOWN: dict[str, Callable[[Pair], bool]] = {
    "Only A": lambda pair: pair.solver == "a",
    "Only B": lambda pair: pair.solver == "b",
    "Different": lambda pair: pair.delta != 0,
    "Both fail": lambda pair: pair.solver == "neither",
}
"""What the list of problems can be narrowed to."""
DIFF_LINES = 2_000
"""Of each program; more would take long to compare."""
Failures = Mapping[tuple[str, str], Mapping[str, int]]
"""Outcome -> answers, by run and problem."""


def by_run(found: Sequence[Standing], contract: str | None) -> dict[str, Standing]:
    """Return one score of each run: under this contract, or else under another of its own."""
    of_run: dict[str, Standing] = {}
    for standing in found:
        run = standing.result.run
        if run not in of_run or standing.result.contract == contract:
            of_run[run] = standing
    return of_run


def shared_contract(found: Sequence[Standing], runs: Sequence[str], wanted: str) -> str | None:
    """Return a contract that all these runs have a score under, or at least the first two.

    Args:
        found: scores of one benchmark and metric.
        runs: ids.
        wanted: the contract that is taken where it can be.
    """
    scored = {(standing.result.run, standing.result.contract) for standing in found}
    for together in (runs, runs[:2]):
        for contract in (wanted, *contracts(found)):
            if all((run, contract) in scored for run in together):
                return contract
    return None


def unanswered(side: Standing, first: Standing) -> str:
    """Return why no answer of a run stands beside those of the first."""
    return (
        "No answer is stored." if side.asking == first.asking else "Asked under another contract."
    )


def sentence(found: Paired, comparisons: int = 1) -> str:
    """Return the verdict on a against b as Markdown, with its p and how it was found."""
    if found.why:
        return f"**Not comparable**: {plain(found.why)}."
    delta = found.difference
    said = difference(delta)
    mark = {"better": "▲\u00a0", "worse": "▼\u00a0"}.get(delta.verdict, "")
    colour = {"better": "green", "worse": "red"}.get(delta.verdict)
    shown = f":{colour}[{mark}{said}]" if colour else said
    holm = f"; the verdict is over {comparisons} comparisons (Holm)" if comparisons > 1 else ""
    return f"**{shown}**. p = {delta.p:.2g} by {plain(delta.method)}{holm}."


def solved_words(found: Paired, metric: str, letter: str = "B") -> str:
    """Return what `solved` means here, and who is ahead on how many problems."""
    answers = max((pair.a.completions for pair in found.pairs), default=1)
    ahead, behind, level = found.ahead()
    if answers == 1:
        return "Solved: its one answer passed."
    return (
        f"Solved: at least one of {answers} answers passed. By {metric} of each problem, which "
        f"is what the difference above is the mean of, A is ahead of {letter} on {ahead:,}, behind "
        f"on {behind:,} and level on {level:,}."
    )


def narrowed(found: Paired, shown: str | None) -> list[Pair]:
    """Return the problems chosen, those furthest apart first."""
    keep = SHOWN.get(shown or "", lambda pair: True)
    return sorted(filter(keep, found.pairs), key=lambda pair: -abs(pair.delta))


def problem_rows(
    pairs: Sequence[Pair], further: Paired | None, runs: Sequence[str], failed: Failures
) -> list[dict[str, Any]]:
    """Return the rows of the list of problems.

    Args:
        pairs: of A and B.
        further: of A and C; None: there is no C.
        runs: ids of A, B and C.
        failed: how answers that did not pass ended.
    """
    of_c = {pair.task_id: pair.b for pair in further.pairs} if further else {}
    rows = []
    for pair in pairs:
        sides = [pair.a, pair.b]
        if further is not None and pair.task_id in of_c:
            sides.append(of_c[pair.task_id])
        row: dict[str, Any] = {"Problem": pair.task_id}
        names = "ABC"[: 3 if further is not None else 2]
        for name, side in zip(names, [*sides, None], strict=False):
            row[name] = f"{side.passed} of {side.completions}" if side else NONE
        row["A - B"] = f"{100 * pair.delta:+.0f}" if pair.delta else "0"
        for name, run in zip(names, runs, strict=False):
            row[f"{name} failed by"] = failure_words(failed.get((run, pair.task_id), {}))
        rows.append(row)
    return rows


def failure_words(outcomes: Mapping[str, int]) -> str:
    """Return `failed 3, timed out 1`; answers that we failed to judge are said to be ours."""
    names = {"sandbox_error": "not judged (our fault)"}
    said = [f"{names.get(name, name.replace('_', ' '))} {n}" for name, n in outcomes.items()]
    return ", ".join(said) or NONE


def telling(written: Sequence[Written], passed: bool | None) -> int:
    """Return the place of the answer that tells most: the first that passed, or that did not.

    Args:
        written: answers of one run to one problem.
        passed: which of both; None, or where there is none: the first of all.
    """
    for place, answer in enumerate(written):
        if passed is not None and (answer.outcome == "passed") == passed:
            return place
    return 0


def answer_name(answer: Written) -> str:
    """Return `answer 2: timed out`."""
    return f"answer {answer.position + 1}: {outcome_words(answer)}"


def outcome_words(answer: Written) -> str:
    """Return the outcome with a mark; an error of ours is none of the model."""
    match answer.outcome:
        case None:
            return "not judged"
        case "passed":
            return "✓ passed"
        case "sandbox_error":
            return "not judged: the sandbox failed"
    return f"✗ {answer.outcome.replace('_', ' ')}"


def unified(ours: str, theirs: str) -> str:
    """Return what to change in one program to get the other, as a unified diff; empty: nothing."""
    found = difflib.unified_diff(_lines(ours), _lines(theirs), "A", "B", lineterm="")
    return "\n".join(found)


def _lines(text: str) -> list[str]:
    return text[:CODE_LIMIT].splitlines()[:DIFF_LINES]


def settings(runs: Sequence[RunFacts]) -> list[dict[str, str]]:
    """Return the settings in which runs differ, a row each; what a run leaves open is a dash."""
    return _differing([_shape(run) for run in runs])


def surroundings(runs: Sequence[RunFacts]) -> list[dict[str, str]]:
    """Return what else was recorded of runs and differs: commit, versions, machines."""
    return _differing([flat(run.provenance) for run in runs])


def flat(content: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Return nested fields as `method.rank` -> text, in their order."""
    found: dict[str, str] = {}
    for name, value in content.items():
        path = f"{above}{name}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{path}.")
        else:
            found[path] = _text(value)
    return found


def side_names(runs: Sequence[str], shown: Callable[[str], str]) -> str:
    """Return `A: falcon, lora` and so on as one line of Markdown."""
    letters = zip("ABC", runs, strict=False)
    return "  \n".join(f"**{letter}**: {plain(shown(run))}" for letter, run in letters)


def _shape(run: RunFacts) -> dict[str, str]:
    facts = {
        "model": run.model,
        "kind": run.kind,
        "method": run.method,
        "dataset": run.dataset,
        "dataset digest": run.dataset_digest,
        "seed": str(run.seed) if run.kind == "tuned" else None,
    }
    spec = {f"settings: {path}": text for path, text in flat(run.spec).items()}
    return {name: value for name, value in facts.items() if value} | spec


def _differing(sides: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    paths = dict.fromkeys(path for side in sides for path in side)
    return [
        {"Field": plain(path)}
        | {
            letter: plain(side.get(path, "")) or NONE
            for letter, side in zip("ABC", sides, strict=False)
        }
        for path in paths
        if len({side.get(path) for side in sides}) > 1
    ]


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
