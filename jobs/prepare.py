"""A dataset recipe and its file become rows of text to train on: a prompt and its response."""

import json
from collections.abc import Iterator
from pathlib import Path

from eval_sandbox.benchmarks import read_problems
from jobs.declared import UserError
from jobs.experiment import RECIPE_VERSION, Dataset, short_hash
from jobs.home import Home, written
from jobs.prompts import alpaca, mbpp_instruction


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
        with written(path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _alpaca_rows(dataset: Dataset) -> Iterator[dict[str, str]]:
    mistakes = []
    for number, line in enumerate(dataset.path.read_text().splitlines(), 1):
        try:
            row = json.loads(line)
            prompt = alpaca(row["instruction"], row.get("input") or "")
            yield {"prompt": prompt, "response": row["response"]}
        except (ValueError, KeyError, TypeError) as error:
            mistakes.append(f"line {number}: {type(error).__name__} {error}")
    if mistakes:
        shown = "\n  ".join(mistakes[:20])
        raise UserError(
            f"{dataset.path}: {len(mistakes)} rows are not {{instruction, input, response}}:\n"
            f"  {shown}"
        )


def _mbpp_rows(dataset: Dataset) -> Iterator[dict[str, str]]:
    for problem in read_problems("mbpp", dataset.path, dataset.recipe.split):
        asked = mbpp_instruction(problem.instruction, problem.extra["tests"])
        response = problem.reference.replace("\r\n", "\n").strip("\n") + "\n"
        yield {"prompt": alpaca(asked), "response": response}


_READERS = {"alpaca": _alpaca_rows, "mbpp": _mbpp_rows}
