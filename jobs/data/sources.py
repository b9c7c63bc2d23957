"""The rows of a source, whatever it is: found, checked against its pin, read part by part.

Parts are independent, so that tasks read them side by side; a part gives the same rows in the same
order wherever it is read.
"""

import glob
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.data import folders, hub, records
from jobs.data.checkout import Commit, Files, Tree, tree_digest
from jobs.data.draft import Draft, Form, UnfitError, given
from jobs.data.formats import FORMS, WHOLE_FILES
from jobs.data.origin import FieldMap, Source
from jobs.data.records import Fault, Record
from jobs.data.row import Refused, Row
from jobs.declared import UserError
from jobs.recipes import MissingFileError, sha256_of

__all__ = ["FieldMap", "Part", "Source", "parts", "read_part", "read_source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one task reads of a source: a file, a shard of the hub, some files of a folder."""

    name: str
    """Of the source, in its recipe."""
    source: Source
    path: str = ""
    """Of the file or folder; empty for the hub."""
    index: int = 0
    """Which shard, or which slice of a folder."""
    units: tuple[folders.Unit, ...] = ()
    """Of a folder, so that it is listed once, not once a part."""


def read_source(name: str, source: Source, folder: Path) -> Iterator[Row | Refused]:
    """The rows of a source in a stable order, and what could not become one.

    Args:
        folder: of the recipe; files are looked for there first, then below `CODELADDER_DATA`.

    Raises:
        UserError: as `parts` and `read_part`.
    """
    for part in parts(name, source, folder):
        yield from read_part(part)


def parts(name: str, source: Source, folder: Path) -> list[Part]:
    """The parts of a source, in order; the files are there, and are what the recipe pins.

    Raises:
        MissingFileError: a file or folder is nowhere.
        UserError: the source has no pin, or what was found is something else.
    """
    if source.tree and not source.sha256:
        digest = tree_digest(_folder(source, folder))
        raise UserError(f"source {name!r} is not pinned: put {digest} into its sha256")
    source.require_pin(name)
    match source.kind:
        case "hub":
            count = hub.load(name, source).num_shards
            return [Part(name=name, source=source, index=index) for index in range(count)]
        case "checkout" | "tree":
            path = _folder(source, folder)
            return [
                Part(name=name, source=source, path=str(path), index=index, units=units)
                for index, units in enumerate(folders.slices(_files(source, path), source))
            ]
        case _:
            pins = source.files or {source.file: source.sha256}
            found = [_file(file, pins[file], source, folder) for file in sorted(pins)]
            return [Part(name=name, source=source, path=str(path)) for path in found]


def read_part(part: Part) -> Iterator[Row | Refused]:
    """The rows of one part; memory does not grow with its length.

    Raises:
        UserError: a file is damaged, or none of its records has a column that the recipe names.
    """
    if part.source.format in WHOLE_FILES:
        for number, draft in WHOLE_FILES[part.source.format](Path(part.path), part.source):
            yield _finished(part, f"{_shown(part)}:{number}", draft)
        return
    form = FORMS[part.source.format]
    absent, seen = set(_columns(form, part.source)), set[str]()
    for place, found in _records(part, form):
        if isinstance(found, Fault):
            yield _refused(part, _within(part, place, ""), found.reason, found.found)
            continue
        if absent:
            absent = {path for path in absent if not records.has(found.values, path)}
            seen |= found.values.keys()
        yield from _rows(part, form, place, found.values)
    if seen:
        records.require(_shown(part), seen, sorted(absent))


def _records(part: Part, form: Form) -> Iterator[tuple[str, Record | Fault]]:
    """Place and content of each record of a part."""
    source, wanted = part.source, _columns(form, part.source)
    if source.kind in ("checkout", "tree"):
        files = _files(source, Path(part.path))
        yield from folders.stream(files, source, part.units)
        return
    if source.kind == "hub":
        dataset = hub.load(part.name, source)
        declared = tuple(dataset.column_names or ())
        found: Iterator[Record | Fault] = hub.stream(dataset, part.index, part.name, source)
    else:
        declared = records.columns_of(Path(part.path))
        found = records.stream(Path(part.path), (*wanted, *form.also))
    if declared:
        records.require(_shown(part), declared, wanted)
    shown = _shown(part)
    for record in found:
        yield f"{shown}:{record.number}", record


def _columns(form: Form, source: Source) -> tuple[str, ...]:
    return (*form.columns(source), *source.where)


def _rows(part: Part, form: Form, place: str, values: dict[str, Any]) -> Iterator[Row | Refused]:
    try:
        _require_where(values, part.source)
        for draft in form.drafts(values, part.source):
            if isinstance(draft, UnfitError):
                yield _refused(part, _within(part, place, draft.within), draft.reason, draft.found)
            else:
                yield _finished(part, _within(part, place, draft.within), draft)
    except UnfitError as unfit:
        yield _refused(part, _within(part, place, unfit.within), unfit.reason, unfit.found)
    except RecursionError:
        yield _refused(part, _within(part, place, ""), "too_deep", "it nests too deep to be read")


def _require_where(values: dict[str, Any], source: Source) -> None:
    for column, wanted in source.where.items():
        found = str(given(values, column))
        if found.lower() not in (name.lower() for name in wanted):
            raise UnfitError("where", f"{column} is {found}")


def _within(part: Part, place: str, within: str) -> str:
    if part.source.kind in ("checkout", "tree"):
        return f"{place}:{within or 1}"
    return f"{place}:{within}" if within else place


def _finished(part: Part, place: str, draft: Draft) -> Row | Refused:
    """The row of a draft, unless it says nothing, is too large, or is no text."""
    try:
        tests = json.dumps(draft.tests, ensure_ascii=False) if draft.tests else ""
        texts = (draft.instruction, draft.input, draft.response, tests, draft.preamble)
        size = sum(len(text.encode()) for text in texts)
        for text in (draft.entry_point, draft.licence, draft.attribution):
            text.encode()
    except UnicodeEncodeError as error:
        around = error.object[max(0, error.start - 20) : error.start + 20]
        return _refused(part, place, "encoding", f"character {error.start + 1}: {around!r}")
    except (TypeError, ValueError, RecursionError) as error:  # dates, bytes and the like
        return _refused(part, place, "tests", f"no JSON: {error}")
    if size > part.source.largest:
        return _refused(part, place, "too_large", f"{size:,} bytes of text")
    if not draft.response.strip() or (draft.asked and not draft.instruction.strip()):
        blank = "response" if not draft.response.strip() else "instruction"
        return _refused(part, place, "empty", f"the {blank}")
    return Row(
        instruction=draft.instruction,
        input=draft.input,
        response=draft.response,
        tests=tests,
        entry_point=draft.entry_point,
        preamble=draft.preamble,
        source=part.name,
        place=place,
        licence=draft.licence or part.source.licence,
        attribution=": ".join(filter(None, (part.source.attribution, draft.attribution))),
    )


def _refused(part: Part, place: str, reason: str, found: str) -> Refused:
    shown = found.encode(errors="replace").decode()[:200]
    return Refused(source=part.name, place=place, step="reading", reason=reason, found=shown)


def _shown(part: Part) -> str:
    """What places of a part begin with."""
    if part.source.kind != "hub":
        return Path(part.path).name
    where = "/".join(filter(None, (part.source.subset, part.source.split or "train")))
    return f"{where}-{part.index:05d}"


def _files(source: Source, path: Path) -> Files:
    return Commit(path, source.revision) if source.kind == "checkout" else Tree(path)


def _folder(source: Source, folder: Path) -> Path:
    wanted = source.checkout or source.tree
    for path in _places(wanted, folder):
        if path.is_dir():
            pin = source.sha256  # of a tree
            if pin and (digest := tree_digest(path)) != pin:
                raise UserError(_another(path, digest, pin))
            return path
    raise _nowhere(wanted, source, folder)


def _file(name: str, sha256: str, source: Source, folder: Path) -> Path:
    found = [path for path in _places(name, folder) if path.is_file()]
    for path in found:
        if sha256_of(path) == sha256:
            return path
    if found:
        what = records.damage(found[0])
        raise UserError(what or _another(found[0], sha256_of(found[0]), sha256))
    raise _nowhere(name, source, folder)


def _places(name: str, folder: Path) -> list[Path]:
    """Where a file or folder of this name may be, the likeliest first."""
    data = os.environ.get("CODELADDER_DATA")
    if not data or Path(name).is_absolute():
        return [(folder / name).absolute()]
    below = sorted(Path(data).rglob(glob.escape(name)))
    return [path.absolute() for path in (folder / name, Path(data) / name, *below)]


def _another(path: Path, found: str, expected: str) -> str:
    return (
        f"{path} is not what the recipe pins: sha256 is {found}, expected {expected}; "
        "download it again, or pin what is there"
    )


def _nowhere(name: str, source: Source, folder: Path) -> MissingFileError:
    data = os.environ.get("CODELADDER_DATA", "not set")
    where = f" It is published at {source.url}." if source.url else ""
    return MissingFileError(
        f"{name} was not found in {folder} nor below CODELADDER_DATA ({data}).{where}"
    )
