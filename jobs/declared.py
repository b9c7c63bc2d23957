"""What a person writes in YAML: read, checked, and every mistake told at once."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError


class UserError(Exception):
    """Something only the user can put right; the message says what, where, and the nearest fix.

    Commands print it without a traceback and exit with status 2.
    """


class Declared(BaseModel):
    """Base of everything a user writes: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def parse(cls, value: Any) -> tuple[Self | None, list[str]]:
        """The object `value` describes, or None and its mistakes, one line each."""
        try:
            return cls.model_validate(value), []
        except ValidationError as error:
            return None, [_line(cls, part) for part in error.errors()]


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: the file is missing (with the nearest name beside it), is no YAML, or holds
            something other than a mapping.
    """
    if not path.is_file():
        near = nearest(path.name, [p.name for p in path.parent.glob("*.yaml")])
        raise UserError(f"{path}: no such file.{near}")
    try:
        content = yaml.load(path.read_text(), Loader=_Unambiguous)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected keys and values, found {type(content).__name__}")
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


def report(path: Path, mistakes: Sequence[str]) -> UserError:
    """One error that lists every mistake found in one file."""
    lines = "\n".join(f"  {mistake}" for mistake in mistakes)
    return UserError(f"{path} cannot be run:\n{lines}")


def _line(model: type[BaseModel], part: Any) -> str:
    where = ".".join(str(key) for key in part["loc"])
    if part["type"] == "extra_forbidden":
        key = str(part["loc"][-1])
        return f"{where}: unknown key.{nearest(key, _keys(model, part['loc'][:-1]))}"
    if part["type"] == "missing":
        return f"{where}: required, but not there"
    message = part["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _keys(model: Any, location: Sequence[Any]) -> list[str]:
    """Keys allowed at a place inside a declared model, or none when the place cannot be typed."""
    for key in location:
        field = getattr(model, "model_fields", {}).get(key)
        annotation = field.annotation if field else model
        model = _declared_in(annotation)
        if model is None:
            return []
    return list(getattr(model, "model_fields", {}))


def _declared_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _declared_in(argument)
        if found is not None:
            return found
    return None
