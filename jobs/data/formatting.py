"""Python in responses, formatted to PEP 8 by ruff: one process for many rows.

ruff formats for black's style with the 79 columns of PEP 8. What it cannot read stays as it was, as
does all that is not Python. The program stays the same but for white space inside docstrings.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jobs.data.code import code_of
from jobs.data.row import Row

BLOCK = re.compile(
    r"^(?P<fence>[ ]{0,3}```[ \t]*(?P<language>\w*)[^\n]*\n)(?P<text>.*?)^[ ]{0,3}```[ \t]*$",
    re.M | re.S,
)
"""A fenced block of Markdown."""
_PYTHON = {"python", "python3", "py"}
_COLUMNS = 79
"""PEP 8, Maximum Line Length."""


def formatted(rows: Sequence[Row]) -> list[Row]:
    """The rows with their Python formatted, in order; a row without any is the same object.

    Raises:
        RuntimeError: ruff is not installed or could not start.
    """
    pieces = [_pieces(row) for row in rows]
    done = iter(_by_ruff([text for texts in pieces for text in texts]))
    return [
        _with(row, [next(done) for _ in texts]) for row, texts in zip(rows, pieces, strict=True)
    ]


def _pieces(row: Row) -> list[str]:
    """The texts of a response that are Python: blocks that say so, or the whole of it."""
    if BLOCK.search(row.response):
        return [block["text"] for block in BLOCK.finditer(row.response) if _is_python(block)]
    return [row.response] if code_of(row) else []


def _is_python(block: re.Match[str]) -> bool:
    return block["language"].lower() in _PYTHON


def _with(row: Row, texts: Sequence[str]) -> Row:
    """The row with other texts where `_pieces` found its own."""
    rest = iter(texts)

    def put(block: re.Match[str]) -> str:
        if not _is_python(block):
            return block[0]
        end = block[0][len(block["fence"]) + len(block["text"]) :]
        return block["fence"] + next(rest) + end

    if not texts:
        return row
    fenced = BLOCK.search(row.response)
    response = BLOCK.sub(put, row.response) if fenced else _ended_alike(texts[0], row.response)
    return row if response == row.response else replace(row, response=response)


def _ended_alike(text: str, original: str) -> str:
    """ruff ends every file with a line feed; a response need not have one."""
    return text if original.endswith("\n") else text.rstrip("\r\n")


def _by_ruff(texts: Sequence[str]) -> list[str]:
    if not texts:
        return []
    with tempfile.TemporaryDirectory(prefix="codeladder-format-") as folder:
        paths = [Path(folder) / f"{number:06}.py" for number in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
        _run_ruff(folder)
        return [path.read_bytes().decode("utf-8", "surrogatepass") for path in paths]


def _run_ruff(folder: str) -> None:
    """Status 2 with files that could not be read is no failure: those stay as they were."""
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--no-cache", "--quiet"]
    options = ["--line-length", str(_COLUMNS), "--target-version", "py311", folder]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 2) or "No module named" in done.stderr:
        raise RuntimeError(f"ruff could not format: {done.stderr.strip()[-500:]}")
