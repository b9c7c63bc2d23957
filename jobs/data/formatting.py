"""Python in responses, formatted to PEP 8 by ruff: one process for many rows.

ruff formats for black's style with the 79 columns of PEP 8. What it cannot read stays as it was, as
does all that is not Python. The program stays the same but for white space inside docstrings.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jobs.data.code import PYTHON, Block, blocks_of, code_of
from jobs.data.row import Row

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
    if code_of(row) == row.response:
        return [row.response] if row.response else []
    return [block.text for block in blocks_of(row.response) if _is_python(block)]


def _is_python(block: Block) -> bool:
    """Not where a fence is indented: ruff would move the block out of its list."""
    return block.language in PYTHON and block.text == block.code


def _with(row: Row, texts: Sequence[str]) -> Row:
    """The row with other texts where `_pieces` found its own."""
    if not texts:
        return row
    if code_of(row) == row.response:
        response = _ended_alike(texts[0], row.response)
    else:
        response = _put(row.response, texts)
    return row if response == row.response else replace(row, response=response)


def _put(response: str, texts: Sequence[str]) -> str:
    blocks = [block for block in blocks_of(response) if _is_python(block)]
    place = 0
    parts: list[str] = []
    for block, text in zip(blocks, texts, strict=True):
        parts += (response[place : block.start], _ended_alike(text, block.text))
        place = block.end
    return "".join([*parts, response[place:]])


def _ended_alike(text: str, original: str) -> str:
    """ruff ends every file with a line feed; a response, or a block without an end, need not."""
    return text if original.endswith(("\n", "\r")) or not original else text.rstrip("\r\n")


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
