"""Recipes in datasets/ by name, and a benchmark's; `jobs/data/recipe.py` has a dataset's."""

import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

from eval_sandbox.contract import Judging, Limits
from jobs.declared import Declared, UserError, nearest, read_yaml

ROOT = Path(__file__).parent.parent
TRAIN = ROOT / "datasets" / "train"
BENCH = ROOT / "datasets" / "bench"


class PinnedFile(Declared):
    """A file, pinned by content."""

    file: str
    """Its name; looked for beside the recipe, then anywhere below `CODELADDER_DATA`."""
    sha256: str
    url: str = ""
    """Where its authors publish it: for people, never fetched here."""


class MissingFileError(UserError):
    """A recipe's file is not on this machine; `plan` lists it, every other command stops."""


R = TypeVar("R", bound=Declared)


class JudgingRecipe(Declared):
    """How completions are judged; limits left out are the judge's own."""

    preamble: str = "none"
    extract: str | None = None
    """How the code is found in an answer; left out: what the prompt contract says."""
    cpu_seconds: float | None = None
    wall_seconds: float | None = None
    memory_mib: int | None = None
    output_kib: int | None = None
    test_seconds: float | None = None
    """CPU time more for each test after the first: for problems with many inputs."""


class BenchmarkRecipe(Declared):
    """Problems to ask, and the parts of the contract that belong to the benchmark."""

    description: str
    source: PinnedFile
    licence: str
    """SPDX identifier."""
    attribution: str = ""
    split: str = ""
    """A part of the file, where its format has named parts (MBPP: train, validation, test)."""
    benchmark: Literal[
        "apps",
        "can-ai-code",
        "code-contests",
        "custom",
        "exercism",
        "exercism-python",
        "humaneval",
        "humanevalplus",
        "interactive-coding",
        "livecodebench",
        "mbpp",
        "mbppplus",
    ]
    """The form that its authors publish it in: `eval_sandbox/benchmarks.py`, `jobs/cases.py`."""
    prompt: str
    """How a model is asked: name of datasets/prompts/NAME.yaml."""
    stop: tuple[str, ...] | None = None
    """A completion ends before the first of these strings; left out: those of the prompt contract.
    Chosen for `prompt`: where an experiment names another, that one's strings are taken."""
    judging: JudgingRecipe = JudgingRecipe()

    def judge_by(self, extract: str | None = None) -> Judging:
        """The judging part of the contract, every limit filled in.

        Args:
            extract: instead of the one that the recipe names; None: the recipe's, or `none`.
        """
        said = self.judging
        names = {"preamble", "extract"}
        limits = Limits(**said.model_dump(exclude=names, exclude_none=True))
        return Judging(
            preamble=said.preamble, extract=extract or said.extract or "none", limits=limits
        )


def read_recipe(kind: type[R], folder: Path, name: str) -> R:
    """The recipe `name` of a folder.

    Raises:
        UserError: no such recipe (with the nearest name), or what is wrong in it, all at once.
    """
    if not re.fullmatch(r"\w[\w.+-]*", name):  # it becomes part of paths that are written
        raise UserError(f"{name!r} is no name of a recipe: letters, digits, '_', '.', '+' and '-'")
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = [p.stem for p in folder.glob("*.yaml")]
        raise UserError(f"{name!r} has no {_shown(path)}.{nearest(name, known)}")
    recipe, mistakes = kind.parse(read_yaml(path))
    if recipe is None:
        raise UserError(f"{_shown(path)}: " + "; ".join(mistakes))
    return recipe


def find_file(source: PinnedFile, folder: Path) -> Path:
    """The file a recipe names, its content checked.

    Raises:
        MissingFileError: the file is nowhere.
        UserError: its sha256 is another one.
    """
    places = [folder / source.file]
    if data := os.environ.get("CODELADDER_DATA"):
        places += sorted(Path(data).rglob(Path(source.file).name))
    found = [place for place in places if place.is_file()]
    for place in found:
        if sha256_of(place) == source.sha256:
            return place
    if found:
        raise UserError(
            f"{found[0]} is not the file the recipe pins: sha256 is {sha256_of(found[0])}, "
            f"expected {source.sha256}"
        )
    where = f" It is published at {source.url}." if source.url else ""
    raise MissingFileError(
        f"{source.file} was not found in {_shown(folder)} nor below CODELADDER_DATA "
        f"({data or 'not set'}).{where}"
    )


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes; a file that has not changed is read once."""
    state = path.stat()
    return _sha256(path, state.st_mtime_ns, state.st_size, state.st_ino)


@lru_cache(maxsize=64)
def _sha256(path: Path, *_state: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
