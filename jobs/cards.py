"""The cards that go with data and with weights: `README.md` as the Hugging Face hub reads it.

Whatever a recipe, a source or a file's name says is text here: it can neither end the front matter
nor become markup. Rows that were left out are counted and never shown, as a card is made to be
published. A card repeats what was declared and found; it is no legal advice.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.card_text import Cells, bullets, document, plain, table
from jobs.data.report import Report
from jobs.data.row import SCHEMA
from jobs.experiment import Run
from jobs.home import written
from jobs.hub_licences import Terms, base_terms, together, under

CARD = "README.md"
SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
"""Bounds of the hub's size categories."""
TRAIN_SPLIT = {"split": "train", "path": "rows/*.parquet"}
"""The one part of a dataset, beside its card; duplicates.parquet is no part of it."""
PROBLEMS = 20
"""Problems of a benchmark that a card names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter, as its card tells of it."""

    run: str
    label: str
    model: str
    """Name of the base in its experiment."""
    hub: str
    """Repository of the base on the hub; empty for a folder."""
    identity: str
    """Repository and commit of the base, or a hash of its files."""
    terms: Terms
    """Of the base."""
    method: Mapping[str, Any]
    """Fields of the method."""
    parallelism: Mapping[str, Any]
    seed: int
    trained: Mapping[str, Any]
    """What the trainer measured: `jobs.train.Facts`."""


def adapter_of(run: Run, checkpoint: Path) -> Adapter:
    """What a card says of the adapter that a tuned run left in a folder."""
    assert run.training is not None
    return Adapter(
        run=run.id,
        label=run.label,
        model=run.model_name,
        hub=run.model.hub,
        identity=str(run.spec["base"]),
        terms=base_terms(run.model.hub, Path(run.model.location)),
        method=run.training.method.model_dump(mode="json", exclude_none=True),
        parallelism=run.model.parallelism.model_dump(mode="json"),
        seed=run.seed,
        trained=json.loads((checkpoint / "facts.json").read_text()),
    )


def write_model_card(folder: Path, card: str) -> None:
    """Put a card beside an adapter, in place of one that is there. Safe to repeat."""
    with written(folder / CARD) as temporary:
        temporary.write_text(card, encoding="utf-8")


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
        _sources(report),
        *_lengths(report),
        "## What was left out",
        _drops(report),
        *_duplicates(report),
        *_execution(report),
        "## Contamination",
        *_contamination(report),
        "## Licences",
        *_licences(report),
    )


def model_card(adapter: Adapter, report: Report) -> str:
    """The card of an adapter that was trained on a prepared dataset."""
    hub = {"base_model": adapter.hub, "base_model_relation": "adapter"} if adapter.hub else {}
    about = {
        **hub,
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        **together(adapter.terms.licence, report.licence),
        "tags": ["code", "codeladder", str(adapter.method.get("kind", "lora"))],
    }
    return document(
        about,
        f"# {plain(adapter.label)}",
        f"An adapter for {_named(adapter)}, made by run `{adapter.run}` of Codeladder with seed "
        f"{adapter.seed}.",
        "## Base",
        *_base(adapter),
        "## Data",
        f"{plain(report.dataset)} (dataset `{report.digest}`): {report.rows_out:,} distinct rows "
        f"of {report.rows_in:,}.",
        _sources(report),
        "## Licences of the data",
        *_licences(report),
        "## Recipe",
        _recipe(adapter),
        "## Contamination",
        *_contamination(report),
    )


def size_category(rows: int) -> str:
    """The hub's name for a size: `10K<n<100K`."""
    bound = 1_000
    for place, name in enumerate(SIZES):
        if rows < bound:
            return f"{SIZES[place - 1]}<n<{name}" if place else f"n<{name}"
        bound *= 10
    return f"n>{SIZES[-1]}"


def _sources(report: Report) -> str:
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


def _contamination(report: Report) -> list[str]:
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


def _licences(report: Report) -> list[str]:
    said = [f"The strictest term of what is in it: **{plain(report.licence) or 'not known'}**."]
    if report.attributions:
        said.append("Attribution:\n\n" + bullets(report.attributions))
    if report.terms:
        said.append("Terms beyond the licences:\n\n" + bullets(report.terms))
    return said


def _named(adapter: Adapter) -> str:
    if not adapter.hub:
        return plain(adapter.model)
    return plain(f"https://huggingface.co/{adapter.hub}")


def _base(adapter: Adapter) -> list[str]:
    licence = adapter.terms.licence or "not known; look it up before you share this adapter"
    said = [f"Weights: {plain(adapter.identity)}. Licence: {plain(licence)}."]
    return [*said, f"> {plain(adapter.terms.notice)}"] if adapter.terms.notice else said


def _recipe(adapter: Adapter) -> str:
    shown = {**adapter.method, **adapter.parallelism, "seed": adapter.seed, **adapter.trained}
    rows: list[Cells] = [
        [name.replace("_", " "), _value(value)]
        for name, value in shown.items()
        if value is not None
    ]
    return table(["Setting", "Value"], rows)


def _value(value: object) -> str | int:
    match value:
        case bool():
            return str(value)
        case int() | str():
            return value
        case dict():
            return ", ".join(f"{key} {part}" for key, part in value.items())
        case list() | tuple():
            return ", ".join(map(str, value))
        case _:
            return f"{value:g}" if isinstance(value, float) else str(value)
