"""From a dataset's report to rows and sentences. Every function is pure; cells are Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from database.facts import DatasetFacts, Exposure, RunFacts, Standing, TouchFacts
from leaderboard.links import link as to
from leaderboard.links import problem_link
from leaderboard.untrusted import seen
from leaderboard.words import count, plain

Report = dict[str, Any]
"""The fields of `jobs.data.report.Report`, as the ledger holds them."""
Cells = list[dict[str, str]]
Version = tuple[str, str]
"""A benchmark's name and the sha256 of its file."""


def link(name: str, digest: str) -> str:
    """Return a link to the page of a dataset."""
    return to(name, "datasets", dataset=digest)


def listed(found: Sequence[DatasetFacts]) -> Cells:
    """Return the table of all datasets."""
    return [
        {
            "Dataset": link(dataset.name, dataset.digest),
            "Rows in": f"{dataset.rows_in:,}",
            "Rows out": f"{dataset.rows_out:,}",
            "Duplicates": f"{dataset.duplicates:,}",
            "Contaminated, dropped": f"{dataset.contaminated:,}",
            "Licence": plain(dataset.licence),
            "Runs": f"{dataset.runs:,}",
            "Id": f"`{dataset.digest}`",
        }
        for dataset in found
    ]


def sources(report: Report) -> Cells:
    """Return rows in and out of every source, in the order of the recipe."""
    return [
        {
            "Source": plain(source["source"]),
            "Licence": plain(source["licence"]),
            "Rows in": f"{source['rows_in']:,}",
            "Rows out": f"{source['rows_out']:,}",
            "With repeats": f"{source['rows_written']:,}",
        }
        for source in report["sources"]
    ]


def drops(report: Report) -> Cells:
    """Return how many rows each step left out, and why."""
    return [
        {
            "Source": plain(drop["source"]),
            "Step": plain(drop["step"]),
            "Reason": plain(_said(drop["reason"])),
            "Rows": f"{drop['rows']:,}",
        }
        for drop in report["drops"]
    ]


def examples(report: Report) -> list[tuple[str, str]]:
    """Return a title and a few dropped rows, as text, of every drop that has any."""
    return [
        (
            f"{plain(drop['source'])}, {plain(drop['step'])}: {plain(_said(drop['reason']))}",
            "\n".join(drop["examples"]),
        )
        for drop in report["drops"]
        if drop["examples"]
    ]


def pairs(report: Report) -> Cells:
    """Return the duplicates the report shows, each beside the row that stands for it."""
    return [
        {
            "Left out": plain(pair["left_out"]),
            "Stands for it": plain(pair["kept"]),
            "Kind": plain(pair["kind"]),
            "Similarity": f"{pair['similarity']:.2f}",
        }
        for pair in report["duplicates"]
    ]


def touched(found: Sequence[TouchFacts], contracts: Mapping[Version, str]) -> Cells:
    """Return the problems that rows touch, as each method found them.

    Args:
        found: the problems.
        contracts: of each version of a benchmark under which a run was judged, one such contract;
            problems of other versions have no page to lead to.
    """
    return [
        {
            "Benchmark": plain(touch.benchmark),
            "Problem": _problem(touch, contracts.get((touch.benchmark, touch.benchmark_digest))),
            "Method": plain(touch.method),
            "Rows": f"{touch.rows:,}",
            "Dropped": f"{touch.rows - touch.trained_on:,}",
            "Trained on": f"**{touch.trained_on:,}**" if touch.trained_on else "0",
        }
        for touch in found
    ]


def _problem(touch: TouchFacts, contract: str | None) -> str:
    name = seen(touch.task_id)
    if contract is None:
        return plain(name)
    return problem_link(touch.benchmark, contract, touch.task_id, name)


def compared(report: Report, found: Sequence[TouchFacts]) -> list[str]:
    """Return one sentence for each benchmark that the rows were compared with."""
    said = []
    for name in sorted(report["benchmarks"]):
        here = [touch for touch in found if touch.benchmark == name]
        problems = {touch.task_id for touch in here}
        kept = {touch.task_id for touch in here if touch.trained_on}
        if not problems:
            said.append(f"**{plain(name)}**: no problem is touched.")
            continue
        verb = "is" if len(problems) == 1 else "are"
        by_kept = f"{len(kept):,} of them by rows that are trained on" if kept else "all dropped"
        said.append(
            f"**{plain(name)}**: {count(len(problems), 'problem')} {verb} touched, {by_kept}."
        )
    return said


def evidence(report: Report) -> str:
    """Return what rows and problems have in common, as text, an empty line between two."""
    return "\n\n".join(
        f"{touch['benchmark']} {touch['task_id']}, {touch['method']}: {touch['row']}, "
        f"{'dropped' if touch['dropped'] else 'trained on'}\n  {touch['evidence']}"
        for touch in report["touches"]
    )


def executed(report: Report) -> list[str]:
    """Return what was run in the sandbox, in sentences; none where nothing was."""
    ran = report["execution"]
    said = []
    if ran["rows_with_tests"]:
        tried = count(ran["rows_with_tests"], "row")
        said.append(f"{ran['rows_passed']:,} of {tried} with tests pass them.")
    if ran["pairs_nominated"]:
        left = ran["pairs_nominated"] - ran["pairs_tried"]
        said.append(
            f"{count(ran['pairs_nominated'], 'pair')} of a row and a problem nominated, for the "
            f"question whether the row solves the problem: {ran['pairs_tried']:,} tried, "
            f"{left:,} not tried, {ran['pairs_solved']:,} solved."
        )
    if ran["sandbox_errors"]:
        said.append(
            f"{count(ran['sandbox_errors'], 'run')} without a verdict: the sandbox failed, which "
            "drops no row."
        )
    return said


def trained_on(run: RunFacts) -> str:
    """Return what a run was trained on, with a link where its dataset is known; or nothing."""
    if run.dataset is None:
        return ""
    known = run.dataset_digest
    return f"Trained on {link(run.dataset, known) if known else plain(run.dataset)}"


def overlap(exposure: Exposure, standing: Standing, report: Report) -> str:
    """Return how many of the problems asked are touched by rows a run was trained on."""
    name, asked = plain(exposure.benchmark), count(standing.asked, "problem")
    if report["benchmarks"].get(exposure.benchmark) != exposure.benchmark_digest:
        return f"**{name}**: not known, its training data was not compared with these problems."
    if not exposure.problems:
        return f"**{name}**: none of {asked} is touched by rows it was trained on."
    found = ", ".join(f"{plain(method)} {n:,}" for method, n in exposure.methods.items())
    verb = "is" if exposure.problems == 1 else "are"
    return (
        f"**{name}**: {exposure.problems:,} of {asked} {verb} touched by rows it was trained on "
        f"({found})."
    )


def _said(name: str) -> str:
    return name.replace("_", " ")
