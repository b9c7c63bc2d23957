"""An experiment file becomes a checked experiment, or the list of all that is wrong with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from eval_sandbox.benchmarks import InputError
from eval_sandbox.problem import Problem
from jobs.cases import read_cases
from jobs.declared import UserError, nearest, read_yaml, report
from jobs.experiment import Benchmark, Dataset, Experiment, ExperimentFile
from jobs.recipes import (
    BENCH,
    ROOT,
    TRAIN,
    BenchmarkRecipe,
    DatasetRecipe,
    MissingFileError,
    Recipe,
    find_file,
    read_recipe,
)

T = TypeVar("T")


def load(path: Path, *, need_files: bool = True) -> Experiment:
    """Read an experiment and all that it names.

    Args:
        path: the YAML file.
        need_files: False accepts data files that are not on this machine (`plan` does): their
            names go to `missing`, and benchmarks without their file have no problems.

    Raises:
        UserError: every mistake in the file and in the recipes, data and models it names, at once.
    """
    content = read_yaml(path)
    file, mistakes = ExperimentFile.parse(content)
    raw = file.model_dump() if file else content
    models = raw.get("models")
    if isinstance(models, dict):
        mistakes += [m for name, spec in models.items() for m in _model_mistakes(name, spec)]
    missing: list[str] = []
    absent = mistakes if need_files else missing
    datasets = _collect(_names(raw, "datasets"), "datasets", _dataset, mistakes, absent)
    benchmarks = _collect(_names(raw, "benchmarks"), "benchmarks", _benchmark, mistakes, absent)
    if file is None or mistakes:
        raise report(path, mistakes)
    experiment = Experiment(
        name=path.stem,
        text=path.read_text(),
        file=file,
        missing=tuple(missing),
        datasets=datasets,
        benchmarks=tuple(
            Benchmark(
                name=name,
                recipe=recipe,
                asking=file.benchmarks[name],
                problems=problems[: file.benchmarks[name].problems],
            )
            for name, (recipe, problems) in benchmarks.items()
        ),
    )
    if twins := _twins(experiment):
        raise report(path, twins)
    return experiment


def _twins(experiment: Experiment) -> list[str]:
    """Runs that differ in name only: the same work would be done twice at the same time."""
    labels: dict[str, list[str]] = {}
    for run in experiment.runs():
        labels.setdefault(run.id, []).append(run.label)
    return [f"the same run twice: {' and '.join(same)}" for same in labels.values() if same[1:]]


def _model_mistakes(name: str, spec: Any) -> list[str]:
    path = spec.get("path") if isinstance(spec, dict) else None
    if not isinstance(path, str) or not path:
        return []
    folder = ROOT / path
    if not folder.is_dir():
        near = nearest(folder.name, [p.parent.name for p in folder.parent.glob("*/config.json")])
        return [f"models.{name}.path: no folder {path}.{near}"]
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        return [f"models.{name}.path: {path} holds no config.json with safetensors weights"]
    return []


def _names(raw: dict[str, Any], key: str) -> list[str]:
    value = raw.get(key)
    return [str(name) for name in value] if isinstance(value, dict | list | tuple) else []


def _collect(
    names: list[str],
    key: str,
    read: Callable[[str, list[str]], T],
    mistakes: list[str],
    absent: list[str],
) -> dict[str, T]:
    """Read what each name stands for; mistakes and absent files are added to their lists."""
    found = {}
    for name in names:
        missing: list[str] = []
        try:
            found[name] = read(name, missing)
        except (UserError, InputError, ValueError) as error:
            mistakes.append(f"{key}.{name}: {error}")
        absent += [f"{key}.{name}: {what}" for what in missing]
    return found


def _dataset(name: str, missing: list[str]) -> Dataset:
    recipe = read_recipe(DatasetRecipe, TRAIN, name)
    path = _file(recipe, TRAIN, missing) or Path(recipe.source.file)
    return Dataset(name=name, recipe=recipe, path=path)


def _benchmark(name: str, missing: list[str]) -> tuple[BenchmarkRecipe, tuple[Problem, ...]]:
    recipe = read_recipe(BenchmarkRecipe, BENCH, name)
    recipe.judge_by()
    path = _file(recipe, BENCH, missing)
    return recipe, read_cases(recipe.benchmark, path, recipe.split) if path else ()


def _file(recipe: Recipe, folder: Path, missing: list[str]) -> Path | None:
    try:
        return find_file(recipe, folder)
    except MissingFileError as error:
        missing.append(str(error))
        return None
