"""What every converter of other people's test cases shares: the custom form that they write.

The form itself is `eval_sandbox.custom`'s; records here are what one line of such a file holds.
"""

import gzip
import json
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval_sandbox.custom import custom_problem
from eval_sandbox.mistakes import InputError, Mistakes
from eval_sandbox.problem import Problem
from eval_sandbox.records import Fields

MOST_BYTES = 64 << 20
"""Of one file, unpacked: a test-case file is text that somebody wrote."""
_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A case that the custom form cannot say."""

    case: str
    """Where it stands, as its authors name it: `strain: keep: empty list`."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What became of a file."""

    records: tuple[dict[str, Any], ...]
    """One for each problem, in the custom form."""
    left_out: tuple[LeftOut, ...] = ()

    def problems(self, path: Path) -> tuple[Problem, ...]:
        """The records as the judge takes them.

        Raises:
            InputError: `path` had no problem in it.
        """
        if not self.records:
            raise InputError(f"{path}: no problem could be made of it. {self.told()}".rstrip())
        mistakes = Mistakes(path)
        problems = tuple(
            custom_problem(Fields((None, record), mistakes)) for record in self.records
        )
        mistakes.raise_if_any()
        return problems

    def told(self) -> str:
        """How many cases were left out and why, in one sentence; empty where none were."""
        if not self.left_out:
            return ""
        counted = Counter(one.reason for one in self.left_out)
        reasons = ", ".join(f"{number} {reason}" for reason, number in counted.most_common())
        return f"{len(self.left_out)} cases were left out: {reasons}."


def record(
    task_id: str, instruction: str, tests: Sequence[Any], **more: str | None
) -> dict[str, Any]:
    """One problem; what is empty is left away."""
    known = {name: value for name, value in more.items() if value}
    return {"task_id": task_id, "instruction": instruction, **known, "tests": list(tests)}


def texts_in(path: Path) -> dict[str, str]:
    """The texts of a file by name: the members of a zip archive, else the file itself, unpacked.

    Raises:
        InputError: the file cannot be read, is no UTF-8, or is larger than `MOST_BYTES`.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_ZIP))
        if start == _ZIP:
            return _members(path)
        with gzip.open(path) if start[:2] == _GZIP else path.open("rb") as file:
            return {path.name: _text(path.name, file.read(MOST_BYTES + 1))}
    except (OSError, EOFError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from None


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file, plain or as .gz.

    Raises:
        InputError: naming the line that is no JSON object.
    """
    (text,) = texts_in(path).values()
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: this is not JSON ({error})") from None
        if not isinstance(value, dict):
            raise InputError(f"{path}, line {number}: an object is expected")
        rows.append(value)
    return rows


def _members(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        wanted = (info for info in archive.infolist() if _is_read(info))
        found, total = {}, 0
        for info in wanted:
            with archive.open(info) as member:
                found[info.filename] = _text(info.filename, member.read(MOST_BYTES + 1 - total))
            total += len(found[info.filename])
        return found


def _is_read(info: zipfile.ZipInfo) -> bool:
    return not info.is_dir() and info.filename.endswith((".json", ".md", ".yaml", ".yml"))


def _text(name: str, content: bytes) -> str:
    if len(content) > MOST_BYTES:
        raise InputError(f"{name}: larger than {MOST_BYTES >> 20} MiB, so no file of test cases")
    return content.decode("utf-8-sig")
