"""The files of a base model, looked at before anybody waits for them."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.training.models import ModelError

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def fingerprint(location: str, revision: str | None) -> str:
    """What this worker would load, from configuration and headers; no weights are read.

    Files that are not here are fetched first, where `location` is on the hub.

    Returns:
        64 hex digits, the same on all workers that would load the same tensors.

    Raises:
        ModelError: a file is missing, cut off, or no safetensors.
    """
    from safetensors import SafetensorError

    try:
        config = json.loads(_file(location, "config.json", revision).read_text())
        tensors = [one for path in _weights(location, revision) for one in _tensors(path)]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(f"{location} cannot be loaded: {error}") from None
    content = json.dumps([config, sorted(tensors)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _weights(location: str, revision: str | None) -> list[Path]:
    """In the order in which transformers looks for them."""
    try:
        return [_file(location, WHOLE, revision)]
    except OSError as error:
        try:
            index = json.loads(_file(location, INDEX, revision).read_text())
        except OSError:
            raise error from None
        return [_file(location, name, revision) for name in sorted({*index["weight_map"].values()})]


def _file(location: str, name: str, revision: str | None) -> Path:
    from transformers.utils import cached_file

    if (folder := Path(location)).is_dir():
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{name} is not there")
        return folder / name
    found = cached_file(location, name, revision=revision or "main")
    if found is None:
        raise FileNotFoundError(f"there is no {name}")
    return Path(found)


def _tensors(path: Path) -> Iterator[tuple[str, Any, str]]:
    """Name, shape and type of each; whether the file is as long as they say is looked at too."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                part = file.get_slice(name)
                yield name, part.get_shape(), str(part.get_dtype())
    except SafetensorError as error:
        raise OSError(f"{path.name} is damaged: {error}") from None
