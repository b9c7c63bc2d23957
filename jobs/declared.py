"""What a person writes in YAML: read, checked, and every mistake told at once."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from cluster.yaml_file import UnreadableError, read_mapping
from cluster.yaml_file import nearest as nearest


class UserError(Exception):
    """Something only the user can put right; the message says what, where, and the nearest fix.

    Commands print it without a traceback and exit with status 2.
    """


class Declared(BaseModel):
    """Base of everything a user writes: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, value: Any) -> tuple[Self | None, list[str]]:
        """The object `value` describes, or None and its mistakes, one line each."""
        try:
            return cls.model_validate(value), []
        except ValidationError as error:
            lines = (_line(cls, part) for part in error.errors())
            return None, [line for several in lines for line in several.splitlines()]


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: the file is missing (with the nearest name beside it), is no YAML, or holds
            something other than a mapping.
    """
    try:
        return read_mapping(path)
    except UnreadableError as error:
        raise UserError(str(error)) from None


def report(path: Path, mistakes: Sequence[str]) -> UserError:
    """One error that lists every mistake found in one file."""
    lines = "\n".join(f"  {mistake}" for mistake in mistakes)
    return UserError(f"{path} cannot be run:\n{lines}")


def _line(model: type[BaseModel], part: Any) -> str:
    place, declared = _place(model, part["loc"])
    where = ".".join(place)
    if part["type"] == "extra_forbidden":
        return f"{where}: unknown key.{nearest(place[-1], _keys(declared))}"
    if part["type"] == "missing":
        return f"{where}: required, but not there"
    if part["type"] == "union_tag_not_found":
        key, tags = part["ctx"]["discriminator"].strip("'"), _tags(declared)
        return f"{where}.{key}: required, but not there; one of {', '.join(tags)}"
    if part["type"] == "union_tag_invalid":
        tag = part["ctx"]["tag"]
        return f"{where}.kind: there is no {tag!r}.{nearest(tag, _tags(declared))}"
    message = part["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _place(model: Any, location: Sequence[Any]) -> tuple[list[str], Any]:
    """Where a mistake is, as its writer would say it, and the last type on the way there.

    pydantic names the chosen member of a union too; that is no key of the file.
    """
    shown = []
    for key in location:
        member = _tags(model).get(key) if isinstance(key, str) else None
        if member is not None:
            model = member
            continue
        shown.append(str(key))
        model = _below(model, key)
    return shown, model


def _below(annotation: Any, key: Any) -> Any:
    """What a key of a mapping, a place in a list or a field of an object holds."""
    declared = _declared_in(annotation)
    fields = getattr(declared, "model_fields", {})
    if key in fields:
        return fields[key].annotation
    held = [argument for argument in get_args(annotation) if argument is not Ellipsis]
    return held[-1] if held and not declared and not _tags(annotation) else declared


def _tags(annotation: Any) -> dict[str, type[BaseModel]]:
    """The members of a union told apart by `kind`, each under its own."""
    found: dict[str, type[BaseModel]] = {}
    for member in _members(annotation):
        kind = getattr(member, "model_fields", {}).get("kind")
        found |= dict.fromkeys(get_args(kind.annotation), member) if kind else {}
    return found if len(found) > 1 else {}


def _members(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def _keys(annotation: Any) -> list[str]:
    return list(getattr(_declared_in(annotation), "model_fields", {}))


def _declared_in(annotation: Any) -> Any:
    """The one object that an annotation means, if it is one."""
    found = [m for m in _members(annotation) if isinstance(m, type) and issubclass(m, BaseModel)]
    return found[0] if len(found) == 1 else None
