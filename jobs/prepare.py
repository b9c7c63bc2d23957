"""A dataset recipe and its file become rows of text to train on: a prompt and its response."""

import json
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from eval_sandbox.benchmarks import InputError, read_problems
from jobs.declared import UserError
from jobs.experiment import RECIPE_VERSION, Dataset, short_hash
from jobs.home import Home, written
from jobs.prompts import alpaca, mbpp_instruction
from jobs.recipes import TRAIN, DatasetRecipe, find_file, read_recipe


def prepare(dataset: Dataset, home: Home) -> Path:
    """Write a dataset's rows once for every run that trains on them.

    Returns:
        JSON lines of `{"prompt", "response"}` in the training template.

    Raises:
        UserError: a row lacks a field or the file has no row, with file and line.
    """
    recipe = dataset.recipe
    content = [recipe.source.sha256, recipe.format, recipe.split, RECIPE_VERSION]
    path = home.rows(short_hash(content))
    if not path.exists():
        rows = list(_READERS[recipe.format](dataset))
        if not rows:
            raise UserError(f"{dataset.path}: there is no row in it")
        with written(path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prepare_recipe(recipe: Path, console: Console) -> None:
    """Prepare the dataset of one recipe and say what is in it.

    Raises:
        UserError: the recipe or its file is not there, or a row is not what its format says.
    """
    if recipe.resolve().parent != TRAIN:
        raise UserError(f"{recipe}: recipes of datasets lie in datasets/train/")
    declared = read_recipe(DatasetRecipe, TRAIN, recipe.stem)
    dataset = Dataset(name=recipe.stem, recipe=declared, path=find_file(declared, TRAIN))
    path = prepare(dataset, Home.from_environment())
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    longest = max(len(row["prompt"]) + len(row["response"]) for row in rows)
    console.print(
        f"{recipe.stem}: {len(rows)} rows, the longest {longest} characters, "
        f"licence {declared.licence}\n{path}",
        highlight=False,
    )


def _alpaca_rows(dataset: Dataset) -> Iterator[dict[str, str]]:
    mistakes = []
    for number, line in enumerate(dataset.path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            prompt = alpaca(row["instruction"], row.get("input") or "")
            yield {"prompt": prompt, "response": row["response"]}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            mistakes.append(f"line {number}: {type(error).__name__} {error}")
    if mistakes:
        shown = "\n  ".join(mistakes[:20])
        raise UserError(
            f"{dataset.path}: {len(mistakes)} rows are not {{instruction, input, response}}:\n"
            f"  {shown}"
        )


def _mbpp_rows(dataset: Dataset) -> Iterator[dict[str, str]]:
    try:
        problems = read_problems("mbpp", dataset.path, dataset.recipe.split)
    except InputError as error:
        raise UserError(str(error)) from None
    for problem in problems:
        asked = mbpp_instruction(problem.instruction, problem.extra["tests"])
        code = problem.reference.replace("\r\n", "\n").replace("\r", "\n")
        response = code.strip("\n") + "\n"
        yield {"prompt": alpaca(asked), "response": response}


_READERS = {"alpaca": _alpaca_rows, "mbpp": _mbpp_rows}
