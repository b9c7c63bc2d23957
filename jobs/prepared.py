"""`python -m jobs prepare`: one dataset prepared, and what became of its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster.session import connect
from database.session import open_ledger
from database.writing import write
from eval_sandbox.sandbox import check_host
from jobs.card_text import one_line
from jobs.data.crew import Crew, OnCluster
from jobs.data.folder import DataFolder
from jobs.data.recipe import DatasetRecipe
from jobs.data.report import Lengths, Report, read_stored
from jobs.declared import UserError, report
from jobs.experiment import Dataset, ExperimentFile, ModelSpec, Questions
from jobs.home import Home
from jobs.lengths import count_lengths
from jobs.loading import dataset_of, load, read_questions
from jobs.prepare import prepare
from jobs.progress import Board
from jobs.recipes import BENCH, TRAIN, read_recipe
from jobs.record import dataset_rows

STARTER = {"starter-llama": ModelSpec(path="models/starter/llama")}
"""Whose tokenizer counts where no experiment names a model."""


def prepare_recipe(recipe: Path, experiment: Path | None, console: Console) -> None:
    """Prepare the dataset of one recipe, record it, and say what became of its rows.

    Args:
        recipe: datasets/train/NAME.yaml.
        experiment: whose benchmarks are kept out of it, and whose tokenizers count it; without
            one, all benchmarks of datasets/bench whose files are here.
        console: where it is said.

    Raises:
        UserError: the recipe, a source or the experiment is not there or not right.
    """
    if recipe.resolve().parent != TRAIN:
        raise UserError(f"{recipe}: recipes of datasets lie in datasets/train/")
    declared = read_recipe(DatasetRecipe, TRAIN, recipe.stem)
    home = Home.from_environment()
    check_host()
    file = load(experiment).file if experiment else None
    models = file.models if file else _counting(declared, console)
    dataset = _dataset(recipe, declared, _asked(file, console))
    with connect(home.folder) as cluster, Board(console) as board:
        crew = OnCluster(max(1, cluster.cpus))
        folder = prepare(dataset, home, crew, board.part)
        known = read_report(folder, declared, models, crew)
    write(open_ledger(), list(dataset_rows(known)))
    show_report(known, console)
    console.print(str(folder.path), highlight=False, markup=False)


def _counting(recipe: DatasetRecipe, console: Console) -> dict[str, ModelSpec]:
    """The models whose tokenizers count where no experiment names any."""
    if recipe.prompt == "chat":
        console.print("Tokens are not counted: a chat needs a model's template; name --experiment.")
        return {}
    return STARTER


def read_report(
    folder: DataFolder, recipe: DatasetRecipe, models: Mapping[str, ModelSpec], crew: Crew
) -> Report:
    """The report of a prepared dataset, with the lengths of its rows by the models' tokenizers."""
    lengths = count_lengths(folder, models, recipe.prompt, crew)
    return replace(read_stored(Report, folder.report), lengths=lengths)


def _dataset(recipe: Path, declared: DatasetRecipe, asked: Sequence[Questions]) -> Dataset:
    missing: list[str] = []
    dataset = dataset_of(recipe.stem, declared, asked, missing)
    if missing:
        raise report(recipe, missing)
    return dataset


def _asked(file: ExperimentFile | None, console: Console) -> list[Questions]:
    names = list(file.benchmarks) if file else sorted(p.stem for p in BENCH.glob("*.yaml"))
    missing: list[str] = []
    asked = [read_questions(name, missing) for name in names]
    for absent in missing:
        console.print(f"Not compared with: {absent}", style="yellow", markup=False)
    return [questions for questions in asked if questions.problems]


def show_report(known: Report, console: Console) -> None:
    """Print a report: sources, what was left out and why, contamination, lengths, licences."""
    console.print(_sources(known))
    if known.drops:
        console.print(_drops(known))
    if known.touched:
        console.print(_touched(known))
    for lengths in known.lengths:
        console.print(_length_table(lengths))
    run = known.execution
    lines = [
        f"{known.dataset} {known.digest}: {known.rows_in:,} rows in, {known.rows_out:,} left, "
        f"{known.rows_written:,} written",
        f"Tests: {run.rows_passed:,} of {run.rows_with_tests:,} rows with tests passed. Pairs of a "
        f"row and a problem: {run.pairs_tried:,} of {run.pairs_nominated:,} nominated were tried, "
        f"{run.pairs_nominated - run.pairs_tried:,} were not; {run.pairs_solved:,} solved."
        + (f" The sandbox failed {run.sandbox_errors} times." if run.sandbox_errors else ""),
        f"Compared with: {', '.join(known.benchmarks) or 'no benchmark'}",
        f"Strictest licence: {known.licence}",
        *(f"Attribution: {line}" for line in known.attributions),
        *(f"Terms: {line}" for line in known.terms),
    ]
    for line in lines:
        console.print(one_line(line), highlight=False, markup=False)


def _sources(known: Report) -> Table:
    table = Table("source", "rows in", "left", "written", "licence", title=_shown(known.dataset))
    for count in known.sources:
        rows = (f"{n:,}" for n in (count.rows_in, count.rows_out, count.rows_written))
        table.add_row(_shown(count.source), *rows, count.licence)
    return table


def _drops(known: Report) -> Table:
    table = Table("source", "step", "reason", "rows", "for instance", title="Left out")
    for drop in known.drops:
        example = drop.examples[0] if drop.examples else ""
        about = (_shown(text) for text in (drop.source, drop.step, drop.reason))
        table.add_row(*about, f"{drop.rows:,}", _shown(example))
    return table


def _touched(known: Report) -> Table:
    title = "Problems that rows touch"
    table = Table("benchmark", "method", "problems", "rows", "trained on", title=title)
    for benchmark, problems in known.touched.items():
        trained = known.trained_on.get(benchmark, {})
        for method in sorted({name for methods in problems.values() for name in methods}):
            touched = [methods[method] for methods in problems.values() if method in methods]
            kept = sum(methods.get(method, 0) for methods in trained.values())
            table.add_row(
                benchmark, method, *(f"{n:,}" for n in (len(touched), sum(touched), kept))
            )
    return table


def _length_table(lengths: Lengths) -> Table:
    title = f"Tokens of a row, by the tokenizer of {lengths.tokenizer}"
    ends = [f"{edge:,} to {after - 1:,}" for edge, after in pairwise(lengths.edges)]
    table = Table("tokens", "rows", title=_shown(f"{title}; {lengths.total:,} in all"))
    for bin_, count in zip([*ends, f"{lengths.edges[-1]:,} or more"], lengths.counts, strict=True):
        if count:
            table.add_row(bin_, f"{count:,}")
    return table


def _shown(text: str) -> Text:
    """What anybody may have written, without anything that a terminal or rich would act on."""
    return Text(one_line(text))
