"""The card that goes with data: `README.md` as the Hugging Face hub reads it.

Whatever a recipe, a source or a file's name says is text here: it can neither end the front matter
nor become markup. Rows that were left out are counted and never shown, as a card is made to be
published. A card repeats what was declared and found; it is no legal advice.
"""

from jobs.card_text import Cells, bullets, document, plain, table
from jobs.data.report import Report
from jobs.data.row import SCHEMA
from jobs.hub.licences import under

CARD = "README.md"
SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
"""Bounds of the hub's size categories."""
TRAIN_SPLIT = {"split": "train", "path": "rows/*.parquet"}
"""The one part of a dataset, beside its card; duplicates.parquet is no part of it."""
PROBLEMS = 20
"""Problems of a benchmark that a card names."""


def dataset_card(report: Report) -> str:
    """The card of a prepared dataset."""
    about = {
        "pretty_name": report.dataset,
        **under(report.licence),
        "size_categories": [size_category(report.rows_written)],
        "task_categories": ["text-generation"],
        "tags": ["code", "codeladder"],
        "configs": [{"config_name": "default", "data_files": [TRAIN_SPLIT]}],
    }
    return document(
        about,
        f"# {plain(report.dataset)}",
        f"{report.rows_written:,} rows to fine-tune code models on, {report.rows_out:,} of them "
        f"distinct, prepared by Codeladder out of {report.rows_in:,} (dataset `{report.digest}`). "
        "`report.json` has all that is said here, and examples.",
        "## What is in it",
        f"Parquet files in `rows`, with columns {', '.join(f'`{name}`' for name in SCHEMA.names)}.",
        sources_of(report),
        *_lengths(report),
        "## What was left out",
        _drops(report),
        *_duplicates(report),
        *_execution(report),
        "## Contamination",
        *contamination_of(report),
        "## Licences",
        *licences_of(report),
    )


def size_category(rows: int) -> str:
    """The hub's name for a size: `10K<n<100K`."""
    bound = 1_000
    for place, name in enumerate(SIZES):
        if rows < bound:
            return f"{SIZES[place - 1]}<n<{name}" if place else f"n<{name}"
        bound *= 10
    return f"n>{SIZES[-1]}"


def sources_of(report: Report) -> str:
    """What each source gave, as a table."""
    rows: list[Cells] = [
        [source.source, source.licence, source.rows_in, source.rows_out, source.rows_written]
        for source in report.sources
    ]
    return table(["Source", "Licence", "Rows in", "Rows out", "With repeats"], rows)


def _lengths(report: Report) -> list[str]:
    return [
        f"Tokens of prompt and response by {plain(lengths.tokenizer)}: {lengths.total:,} in all, "
        f"{lengths.longest:,} in the longest row."
        for lengths in report.lengths
    ]


def _drops(report: Report) -> str:
    if not report.drops:
        return "Nothing."
    rows: list[Cells] = [[drop.source, drop.step, drop.reason, drop.rows] for drop in report.drops]
    return table(["Source", "Step", "Reason", "Rows"], rows)


def _duplicates(report: Report) -> list[str]:
    if not report.duplicate_pairs:
        return []
    return [f"Rows left out because another stands for them: {report.duplicate_pairs:,}."]


def _execution(report: Report) -> list[str]:
    ran, said = report.execution, []
    if ran.rows_with_tests:
        passed = f"{ran.rows_passed:,} of them pass"
        said.append(f"Rows with tests: {ran.rows_with_tests:,}; {passed}.")
    if ran.pairs_nominated:
        said.append(
            f"Rows that might solve a problem of a benchmark: {ran.pairs_nominated:,} pairs of row "
            f"and problem, {ran.pairs_tried:,} of them run in the sandbox, {ran.pairs_solved:,} "
            f"solved; {ran.pairs_nominated - ran.pairs_tried:,} were not tried."
        )
    return said


def contamination_of(report: Report) -> list[str]:
    """How many problems of each benchmark the rows touch, and which are trained on."""
    if not report.benchmarks:
        return ["Compared with no benchmark: what these rows touch is not known."]
    rows: list[Cells] = [
        [name, len(report.touched.get(name, {})), len(_kept(report, name))]
        for name in sorted(report.benchmarks)
    ]
    heads = ["Benchmark", "Problems touched by any row", "By rows that are trained on"]
    return [table(heads, rows), *_named_problems(report)]


def _named_problems(report: Report) -> list[str]:
    said = []
    for name in sorted(report.benchmarks):
        kept = _kept(report, name)
        lines = [f"{task_id}: {', '.join(sorted(kept[task_id]))}" for task_id in sorted(kept)]
        if lines:
            more = len(lines) - PROBLEMS
            rest = [f"and {more:,} more, in report.json"] if more > 0 else []
            said.append(
                f"Problems of {plain(name)} that rows trained on touch, and how this was found:\n\n"
                + bullets([*lines[:PROBLEMS], *rest])
            )
    return said


def _kept(report: Report, benchmark: str) -> dict[str, dict[str, int]]:
    return report.trained_on.get(benchmark, {})


def licences_of(report: Report) -> list[str]:
    """The strictest term, and what the sources ask for."""
    said = [f"The strictest term of what is in it: **{plain(report.licence) or 'not known'}**."]
    if report.attributions:
        said.append("Attribution:\n\n" + bullets(report.attributions))
    if report.terms:
        said.append("Terms beyond the licences:\n\n" + bullets(report.terms))
    return said
