"""A file that a person writes in YAML, and names in it that are nearly right."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml


class UnreadableError(Exception):
    """A file is missing (with the nearest name beside it), is no YAML, or holds no mapping."""


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UnreadableError: there is none; the message says why.
    """
    if not path.is_file():
        near = nearest(path.name, [one.name for one in path.parent.glob("*.yaml")])
        raise UnreadableError(f"{path}: no such file.{near}")
    try:
        content = yaml.load(path.read_text(), Loader=_Unambiguous)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        told = " ".join(str(error).split())
        raise UnreadableError(f"{path}: not readable as YAML: {told}") from None
    if not isinstance(content, dict):
        raise UnreadableError(f"{path}: expected keys and values, found {type(content).__name__}")
    return content


class _Unambiguous(yaml.SafeLoader):
    """YAML in which a key that stands twice is a mistake, not a silent choice of the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {key!r} stands twice")
        return super().construct_mapping(node, deep)


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, ` Known: ...` or nothing, to end a sentence about an unknown name."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Known: {', '.join(names)}." if names else ""
