"""`python -m jobs new dataset FILE`: from a person's own file to a recipe to train on."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import yaml
from rich.console import Console

from jobs.data import records
from jobs.data.origin import Source
from jobs.data.recipe import DatasetRecipe
from jobs.data.records import Record
from jobs.data.row import Refused, Row
from jobs.data.sources import read_source
from jobs.declared import UserError, nearest, read_yaml, report
from jobs.guessing import SAMPLE, Proposal, propose
from jobs.prompts import PromptForm, Text, text_of
from jobs.recipes import ROOT, TRAIN, sha256_of

SHOWN = 3
LONGEST_SHOWN = 3_000
"""Characters of a row; the rest is counted."""
UNKNOWN = "LicenseRef-unknown"


@dataclass(slots=True)
class Counted:
    """What is in a file, read as proposed."""

    rows: int = 0
    with_input: int = 0
    with_tests: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Reason -> records."""
    examples: dict[str, str] = field(default_factory=dict)
    """Reason -> place and what was found, of the first."""
    longest: int = 0
    """Characters of instruction, input and response together."""
    longest_place: str = ""
    first: list[Row] = field(default_factory=list)

    def add(self, found: Row | Refused) -> None:
        """Count one record."""
        if isinstance(found, Refused):
            self.refused[found.reason] += 1
            self.examples.setdefault(found.reason, f"{found.place}: {found.found}")
            return
        self.rows += 1
        self.with_input += bool(found.input)
        self.with_tests += bool(found.tests)
        length = len(found.instruction) + len(found.input) + len(found.response)
        if length > self.longest:
            self.longest, self.longest_place = length, found.place
        if len(self.first) < SHOWN:
            self.first.append(found)


def new_dataset(file: Path, name: str, console: Console, folder: Path | None = None) -> Path:
    """Propose a recipe for a file, show what it would mean, and write it.

    Args:
        file: JSONL, JSON, CSV or Parquet, the first three also as .gz or .zst.
        name: of the recipe; empty makes one of the file's.
        console: where the rows are shown.
        folder: where recipes lie; datasets/train of this installation by default.

    Returns:
        The recipe's file.

    Raises:
        UserError: there is no such file, nothing in it can be read, or the recipe exists; then
            nothing is written.
    """
    folder = folder or TRAIN
    path = _recipe_path(name or _name_of(file), folder)
    _require_file(file)
    proposal = propose(_sample(file), str(file))
    source = _source(file.resolve(), folder, proposal)
    counted = Counted()
    for found in read_source(path.stem, source, folder):
        counted.add(found)
    _show(file, proposal, counted, console)
    if not counted.rows:
        raise UserError(f"{file}: read like that it has no row; nothing was written")
    _write(path, source, proposal, counted)
    _say_next(path, source, console)
    return path


def _source(file: Path, folder: Path, proposal: Proposal) -> Source:
    fields = {"fields": proposal.fields} if proposal.fields else {}
    return Source.model_validate(
        {
            "file": _named(file, folder),
            "sha256": sha256_of(file),
            "licence": UNKNOWN,
            "format": proposal.format,
            **fields,
        }
    )


def _name_of(file: Path) -> str:
    stem = file.name.partition(".")[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-") or "mine"


def _recipe_path(name: str, folder: Path) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"{name!r} is no name for a recipe; use letters, digits, - and _")
    path = folder / f"{name}.yaml"
    if path.exists():
        raise UserError(f"{_shown(path)} is there already; choose another name with --name")
    return path


def _require_file(file: Path) -> None:
    if file.is_dir():
        raise UserError(f"{file} is a folder; name one file in it")
    if not file.is_file():
        there = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        raise UserError(f"{file}: no such file.{nearest(file.name, there)}")


def _sample(file: Path) -> list[dict[str, object]]:
    found = islice(records.stream(file, records.columns_of(file)), SAMPLE)
    sample = [record.values for record in found if isinstance(record, Record)]
    if not sample:
        raise UserError(f"{file}: none of its first {SAMPLE} records can be read as an object")
    return sample


def _named(file: Path, folder: Path) -> str:
    """What the recipe calls a file: its name beside recipes or below CODELADDER_DATA, else all."""
    data = os.environ.get("CODELADDER_DATA")
    for known in (folder.resolve(), *([Path(data).resolve()] if data else [])):
        if file.is_relative_to(known):
            return str(file.relative_to(known))
    return str(file)


def _show(file: Path, proposal: Proposal, counted: Counted, console: Console) -> None:
    told = [f"{file}: read as format {proposal.format!r} ({proposal.sure})"]
    told += [f"  {reason}" for reason in proposal.reasons]
    for number, row in enumerate(counted.first, start=1):
        told += ["", f"--- row {number} ({row.place}) as a model sees it ---"]
        told.append(_cut(text_of(row, _prompt(proposal))))
    if counted.first:
        told += ["--- end; no loss on the prompt, and a token that ends each response ---", ""]
    for line in (*told, *_counts(counted)):
        print(_visible(line), file=console.file)  # rich would expand tabs and read markup


def _prompt(proposal: Proposal) -> PromptForm:
    return "plain" if proposal.plain else "alpaca"


def _cut(text: Text) -> str:
    whole = text.prompt + text.response
    if len(whole) <= LONGEST_SHOWN:
        return whole
    return f"{whole[:LONGEST_SHOWN]}\n... {len(whole) - LONGEST_SHOWN:,} more characters"


def _visible(text: str) -> str:
    """Text of somebody's file that does nothing to a terminal: an escape is shown as `\\x1b`."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def _counts(counted: Counted) -> Iterator[str]:
    parts = [f"{counted.with_input:,} with input"] if counted.with_input else []
    parts += [f"{counted.with_tests:,} with tests"] if counted.with_tests else []
    yield ", ".join([f"{counted.rows:,} rows", *parts])
    if counted.rows:
        yield f"longest: {counted.longest:,} characters, {counted.longest_place}"
    for reason, number in counted.refused.most_common():
        yield f"left out, {reason}: {number:,}, first {counted.examples[reason]}"


def _write(path: Path, source: Source, proposal: Proposal, counted: Counted) -> None:
    """Write the recipe, and nothing over one that is there; it is read back before it is named."""
    text = _recipe(path.stem, source, proposal, counted)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text)
        recipe, mistakes = DatasetRecipe.parse(read_yaml(temporary))
        if recipe is None or recipe.sources != {path.stem: source}:
            raise report(path, mistakes or ["a file of this name cannot be written to YAML"])
        os.link(temporary, path)  # unlike a rename, it fails where somebody was quicker
    except FileExistsError:
        raise UserError(
            f"{_shown(path)} is there already; choose another name with --name"
        ) from None
    except OSError as error:
        raise UserError(f"{_shown(path)} cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _recipe(name: str, source: Source, proposal: Proposal, counted: Counted) -> str:
    """JSON texts are YAML texts, whatever is in them."""
    lines = [
        f"description: {json.dumps(f'{counted.rows:,} rows of {Path(source.file).name}')}",
        "sources:",
        f"  {name if yaml.safe_load(name) == name else json.dumps(name)}:",
        f"    file: {json.dumps(source.file, ensure_ascii=False)}",
        f"    sha256: {source.sha256}",
        f"    licence: {UNKNOWN}  # its SPDX name goes here, such as MIT or CC-BY-4.0",
        f"    format: {source.format}",
    ]
    if proposal.fields is not None:
        mapped = json.dumps(proposal.fields.mapped(), ensure_ascii=False)
        lines.append(f"    fields: {mapped}  # {proposal.sure}")
    return "\n".join([*lines, f"prompt: {_prompt(proposal)}", ""])


def _say_next(path: Path, source: Source, console: Console) -> None:
    told = ["", f"Wrote {_shown(path)}. Fill in its licence, then:", ""]
    told.append(f"  python -m jobs prepare {_shown(path)}")
    if Path(source.file).is_absolute():
        told += [
            "",
            "The recipe names the file by its place on this machine. To share the recipe, put the",
            "file's name alone there, and let CODELADDER_DATA name the folder that it is in.",
        ]
    for line in told:
        print(line, file=console.file)


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
