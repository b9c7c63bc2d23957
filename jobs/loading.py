"""An experiment file becomes a checked experiment, or the list of all that is wrong with it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from database import limits
from eval_sandbox.benchmarks import InputError
from eval_sandbox.problem import Problem
from jobs.cases import read_cases, within
from jobs.data.recipe import DatasetRecipe
from jobs.data.sources import parts
from jobs.declared import UserError, nearest, read_yaml, report
from jobs.experiment import Asking, Benchmark, Dataset, Experiment, ExperimentFile, Questions, Run
from jobs.prompt_contracts import Prompt, read_prompt
from jobs.prompts import PromptError, chat_tokenizer
from jobs.recipes import (
    BENCH,
    ROOT,
    TRAIN,
    BenchmarkRecipe,
    MissingFileError,
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
    questions = _collect(_names(raw, "benchmarks"), "benchmarks", read_questions, mistakes, absent)
    recipes = _collect(_names(raw, "datasets"), "datasets", _dataset, mistakes, absent)
    datasets = _collect(
        list(recipes),
        "datasets",
        lambda name, missing: dataset_of(name, recipes[name], list(questions.values()), missing),
        mistakes,
        absent,
    )
    if file is None:
        raise report(path, mistakes)
    prompts = _collect(
        list(questions),
        "benchmarks",
        lambda name, missing: _prompt(questions[name], file.benchmarks[name], missing),
        mistakes,
        absent,
    )
    chats = any(prompt.contract.chat for prompt in prompts.values())
    chats = chats or any(recipe.prompt == "chat" for recipe in recipes.values())
    mistakes += _template_mistakes(file) if chats else []
    mistakes += _served_mistakes(file, prompts)
    mistakes += _window_mistakes(file, questions)
    if mistakes:
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
                recipe=known.recipe,
                asking=file.benchmarks[name],
                problems=_asked(known, file.benchmarks[name]),
                prompt=prompts[name],
            )
            for name, known in questions.items()
        ),
    )
    if wrong := _twins(experiment) + _too_long(experiment):
        raise report(path, wrong)
    return experiment


def _asked(known: Questions, asking: Asking) -> tuple[Problem, ...]:
    """The problems of a window, and of these the first so many, as an experiment says."""
    return within(known.problems, asking.since, asking.until)[: asking.problems]


def _window_mistakes(file: ExperimentFile, questions: Mapping[str, Questions]) -> list[str]:
    """Benchmarks of which a window leaves nothing to ask."""
    dated = {
        name: sorted(p.released for p in known.problems if p.released is not None)
        for name, known in questions.items()
        if known.problems and not _asked(known, file.benchmarks[name])
    }
    return [
        f"benchmarks.{name}: since and until leave no problem; "
        + (f"they are from {days[0]} to {days[-1]}" if days else "its file has no dates")
        for name, days in dated.items()
    ]


def _twins(experiment: Experiment) -> list[str]:
    """Runs that differ in name only: the same work would be done twice at the same time."""
    alike: dict[str, list[Run]] = {}
    for run in experiment.runs():
        alike.setdefault(run.id, []).append(run)
    return [
        f"the same run twice: {' and '.join(run.label for run in same)}"
        + ("; set server.revision to tell two servers apart" if same[0].model.server else "")
        for same in alike.values()
        if same[1:]
    ]


def _too_long(experiment: Experiment) -> list[str]:
    """Names for which the ledger has no room, where it is on PostgreSQL."""
    file = experiment.file
    named = [("name of the file", experiment.name, limits.EXPERIMENT)]
    named += [(f"models.{name}", name, limits.MODEL) for name in file.models]
    named += [(f"datasets.{name}", name, limits.MODEL) for name in file.datasets]
    named += [(f"methods.{name}", name, limits.MODEL) for name in file.tunings]
    named += [(f"benchmarks.{name}", name, limits.BENCHMARK) for name in file.benchmarks]
    named += [(f"run {run.label}", run.label, limits.LABEL) for run in experiment.runs()]
    return [
        f"{where}: {len(name)} characters, and the ledger holds {most}; make it shorter"
        for where, name, most in named
        if len(name) > most
    ]


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


def _template_mistakes(file: ExperimentFile) -> list[str]:
    """Models of this machine that cannot be asked in a chat; those of the hub tell later."""
    mistakes = []
    for name, model in file.models.items():
        try:
            if model.path:
                chat_tokenizer(model.location, None)
        except (PromptError, OSError) as error:
            mistakes.append(f"models.{name}: {error}")
    return mistakes


def _served_mistakes(file: ExperimentFile, prompts: Mapping[str, Prompt]) -> list[str]:
    """Chats that begin the answer: a server's own template stands before it."""
    served = [name for name, model in file.models.items() if model.server]
    return [
        f"benchmarks.{name}.prompt: {prompt.name} begins the answer, which cannot be said to a "
        f"model behind a server ({served[0]}); use a chat that does not, such as chat"
        for name, prompt in prompts.items()
        if served and prompt.contract.chat and prompt.contract.answer
    ]


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


def dataset_of(
    name: str, recipe: DatasetRecipe, asked: Sequence[Questions], missing: list[str]
) -> Dataset:
    """A dataset, and what it is compared with: the benchmarks `asked`, or those its recipe names.

    Raises:
        UserError: the recipe names a benchmark that there is not.
    """
    contamination = recipe.contamination
    if not contamination.methods:
        return Dataset(name=name, recipe=recipe)
    if contamination.against != "experiment":
        known = {questions.name: questions for questions in asked}
        asked = [known.get(n) or read_questions(n, missing) for n in contamination.against]
    return Dataset(name=name, recipe=recipe, against=tuple(asked))


def read_questions(name: str, missing: list[str]) -> Questions:
    """A benchmark of datasets/bench with its problems; a file that is nowhere goes to `missing`.

    Raises:
        UserError: there is no such recipe, or something is wrong in it.
        InputError: something is wrong in its file.
    """
    recipe = read_recipe(BenchmarkRecipe, BENCH, name)
    recipe.judge_by()
    try:
        path = find_file(recipe.source, BENCH)
    except MissingFileError as error:
        missing.append(str(error))
        return Questions(name=name, recipe=recipe, problems=())
    problems = read_cases(recipe.benchmark, path, recipe.split)
    return Questions(name=name, recipe=recipe, problems=problems)


def _prompt(known: Questions, asking: Asking, missing: list[str]) -> Prompt:
    """How a benchmark is asked.

    Raises:
        UserError: there is no such contract, something is wrong in it, or it does not suit.
    """
    prompt = read_prompt(asking.prompt or known.recipe.prompt, missing)
    if unsuited := prompt.unaskable(known.recipe.benchmark, _asked(known, asking)):
        raise UserError(f"prompt: {unsuited}")
    return prompt


def _dataset(name: str, missing: list[str]) -> DatasetRecipe:
    recipe = read_recipe(DatasetRecipe, TRAIN, name)
    for source, declared in recipe.sources.items():
        try:
            declared.require_pin(source)
            if declared.kind != "hub":  # what the hub has is asked when it is needed
                parts(source, declared, TRAIN)
        except MissingFileError as error:
            missing.append(str(error))
    return recipe
