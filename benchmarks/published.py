"""Where the published benchmark files lie on this machine; none of them is part of the project."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class MissingDataError(Exception):
    """A published file that a measurement needs is not on this machine."""


def published(name: str) -> Path:
    """The path of a published file: under `CODELADDER_DATA`, else beside the repository.

    Raises:
        MissingDataError: with the places that were looked at.
    """
    folder = Path(os.environ.get("CODELADDER_DATA") or ROOT.parent / "shared" / "data")
    places = [folder / "bench" / name, folder / "samples" / name, folder / name]
    for place in places:
        if place.is_file():
            return place
    looked = "\n  ".join(map(str, places))
    raise MissingDataError(
        f"{name} is not on this machine. Set CODELADDER_DATA to a folder that has it, in it or in "
        f"its folder bench or samples. Looked at:\n  {looked}"
    )


def rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a .jsonl.gz file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]
