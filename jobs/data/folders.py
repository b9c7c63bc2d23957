"""Records out of a folder of code: a file each, or an exercise each."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from jobs.data.checkout import Files, above, licences, matching, printable
from jobs.data.licences import declared_in
from jobs.data.origin import Source
from jobs.data.records import Fault, Record
from jobs.data.terms import permits

SLICE = 256
"""Records of one part."""
_EVERY = ("**/*.py",)
_EXERCISES = "exercises/practice"


@dataclass(frozen=True, slots=True)
class Unit:
    """The files that one record is made of."""

    name: str
    """Its path."""
    paths: tuple[str, ...]
    licence: str = ""
    """Of the folder it is in, "" where none is known."""


def slices(files: Files, source: Source) -> list[tuple[Unit, ...]]:
    """All records of a folder, sorted by path, part by part."""
    paths = files.paths()
    if source.format == "exercism":
        found = _exercises(paths)
    else:
        found = [Unit(path, (path,)) for path in matching(paths, source.paths or _EVERY)]
    by_folder = licences(files, paths)
    every = [replace(unit, licence=above(unit.paths[0], by_folder)) for unit in found]
    return [tuple(every[start : start + SLICE]) for start in range(0, len(every), SLICE)]


def stream(
    files: Files, source: Source, units: Sequence[Unit]
) -> Iterator[tuple[str, Record | Fault]]:
    """Path and record of each unit; what is not under a licence let in is a `Fault`."""
    contents = files.read((path for unit in units for path in unit.paths), source.largest)
    for number, unit in enumerate(units, 1):
        texts = {path: next(contents) for path in unit.paths}
        yield printable(unit.name), _record(number, unit, texts, source)


def _record(
    number: int,
    unit: Unit,
    contents: dict[str, bytes | int],
    source: Source,
) -> Record | Fault:
    texts: dict[str, str] = {}
    for path, content in contents.items():
        if isinstance(content, int):
            return Fault(number, "too_large", f"{path}: {content:,} bytes")
        try:
            texts[path] = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            return Fault(number, "encoding", f"{path}: byte {error.start + 1}")
    declared = declared_in(texts[unit.paths[0]])
    licence = unit.licence if declared is None else declared
    if not permits(licence, source.allowed):
        return Fault(number, "licence", licence or "no licence that is known")
    if source.format == "exercism":
        return _exercise(number, unit, texts, licence)
    return Record(
        number, {"path": printable(unit.name), "text": texts[unit.name], "licence": licence}
    )


def _exercises(paths: list[str]) -> list[Unit]:
    """Practice exercises of an Exercism track that have a `.meta/config.json`."""
    grouped: dict[str, list[str]] = {}
    for path in paths:
        parts = PurePosixPath(path).parts
        if path.startswith(f"{_EXERCISES}/") and len(parts) > 3 and path.endswith(_READ):
            grouped.setdefault("/".join(parts[:3]), []).append(path)
    return [
        Unit(folder, tuple(found))
        for folder, found in sorted(grouped.items())
        if f"{folder}/.meta/config.json" in found
    ]


_READ = (".py", ".md", "/.meta/config.json")


def _exercise(number: int, unit: Unit, texts: dict[str, str], licence: str) -> Record | Fault:
    """An exercise as one object; which file is what, its own config.json says."""
    own = {path.removeprefix(f"{unit.name}/"): text for path, text in texts.items()}
    try:
        roles: dict[str, list[str]] = json.loads(own[".meta/config.json"])["files"]
        values: dict[str, Any] = {
            part: {path: own[path] for path in roles[role]}
            for part, role in (("stub", "solution"), ("tests", "test"), ("example", "example"))
        }
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return Fault(number, "missing_field", f".meta/config.json, {type(error).__name__}: {error}")
    return Record(
        number,
        {
            **values,
            "slug": printable(PurePosixPath(unit.name).name),
            "instructions": own.get(".docs/instructions.md"),
            "append": own.get(".docs/instructions.append.md", ""),
            "licence": licence,
        },
    )
