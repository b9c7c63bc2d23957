"""A sweep: one method, and other values of some of its fields; each combination is a method."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from jobs.declared import Declared, nearest
from jobs.methods import AnyMethod

MOST_POINTS = 500
"""More methods than anyone means to train."""
MEASURED = ("held_out", "max_length")
"""Fields that decide which rows a held-out loss is of."""
DIGITS = 3
"""Significant digits of a drawn number: what tells two apart can be read."""


class Range(Declared):
    """Numbers to draw from, both ends included."""

    low: float
    high: float
    scale: Literal["linear", "log"] = "linear"
    """`log` draws each power of ten equally often."""
    integer: bool = False

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"scale log needs low above 0, but it is {self.low:g}")
        if self.integer and (self.low % 1 or self.high % 1):
            raise ValueError(f"integer, but {self.low:g} to {self.high:g} are not whole numbers")
        return self

    def draw(self, uniform: float) -> float | int:
        """The number at `uniform`, in [0, 1), of the way from low to high."""
        past = 1 if self.integer else 0  # so that the last whole number is as likely as the others
        low, high = self.low, self.high + past
        if self.scale == "log":
            value = math.exp(math.log(low) + uniform * (math.log(high) - math.log(low)))
        else:
            value = low + uniform * (high - low)
        if self.integer:
            return int(min(max(math.floor(value), low), self.high))
        return min(max(float(f"{value:.{DIGITS}g}"), low), high)


def _listed(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("give a list of values, such as [8, 16]")
    return value


def _listed_or_range(value: Any) -> Any:
    return Range.model_validate(value) if isinstance(value, dict | Range) else _listed(value)


Values = Annotated[tuple[Any, ...], BeforeValidator(_listed)]
Choice = Annotated[tuple[Any, ...] | Range, BeforeValidator(_listed_or_range)]


class Asha(Declared):
    """Stop what lags behind, at rungs (Li et al. 2020, arXiv:1810.05934): see `jobs/asha.py`."""

    grace: float = Field(gt=0)
    """The first rung: optimizer steps, or below 1 a share of a training's steps."""
    reduction: int = Field(default=3, ge=2)
    """One in so many goes on past a rung; the next rung is so many times as far."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.grace >= 1 and self.grace % 1:
            raise ValueError(
                f"grace {self.grace:g} is neither a number of steps nor a share of them"
            )
        return self


class EarlyStop(Declared):
    """Which rule ends trainings that do worse than others of the sweep."""

    asha: Asha


class Sweep(Declared):
    """Which fields of a method take which values; a method that a sweep names runs only so."""

    method: str
    """An entry of `methods`: the fields that stay."""
    grid: dict[str, Values] = Field(default_factory=dict)
    """Field -> values; every combination is trained."""
    random: int | None = Field(default=None, ge=1, le=MOST_POINTS)
    """How many combinations are drawn from `choose`."""
    seed: int = 0
    """Of the draws. Those of a field follow from this and its name alone."""
    choose: dict[str, Choice] = Field(default_factory=dict)
    """Field -> values, or a range of numbers."""
    early_stop: EarlyStop | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if bool(self.grid) == bool(self.choose):
            raise ValueError("give either grid, or random and choose")
        if bool(self.choose) != (self.random is not None):
            raise ValueError("random says how many are drawn from choose; give both")
        if "seed" in self.model_fields_set and self.grid:
            raise ValueError("seed is of the draws, but a grid draws nothing; remove it")
        if (size := math.prod(map(len, self.grid.values()))) > MOST_POINTS:
            raise ValueError(f"the grid has {size} points; at most {MOST_POINTS} are trained")
        return self

    @property
    def part(self) -> str:
        """The key under which the fields stand."""
        return "grid" if self.grid else "choose"

    def points(self) -> Iterator[dict[str, Any]]:
        """Field -> value, of every combination; one may come twice."""
        if self.grid:
            for values in product(*self.grid.values()):
                yield dict(zip(self.grid, values, strict=True))
            return
        draws = {field: Random(f"{self.seed} {field}") for field in self.choose}
        for _ in range(self.random or 0):
            yield {
                field: _drawn(choice, draws[field].random())
                for field, choice in self.choose.items()
            }


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A method that a sweep asks for."""

    sweep: str
    method: AnyMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """What sweeps stand for, and what is wrong with them."""

    points: dict[str, Point]
    """By name, such as `lora rank=8 learning_rate=0.0002`."""
    mistakes: tuple[str, ...]


def expand(sweeps: Mapping[str, Sweep], methods: Mapping[str, AnyMethod]) -> Expansion:
    """Every method that sweeps ask for, each checked by its own class."""
    points: dict[str, Point] = {}
    mistakes: list[str] = []
    templates = {sweep.method for sweep in sweeps.values()}
    for name, sweep in sweeps.items():
        if name in methods and name != sweep.method:
            mistakes.append(f"sweeps.{name}: a method has this name too; give the sweep another")
        template = methods.get(sweep.method)
        if template is None:
            near = nearest(sweep.method, methods)
            mistakes.append(f"sweeps.{name}.method: no method {sweep.method!r}.{near}")
            continue
        found, wrong = _expanded(name, sweep, template)
        taken = sorted(set(found) & (set(methods) - templates))
        mistakes += wrong + [f"sweeps.{name}: a method is named {other!r} too" for other in taken]
        points |= found
    return Expansion(points=points, mistakes=tuple(dict.fromkeys(mistakes)))


def _expanded(name: str, sweep: Sweep, template: Any) -> tuple[dict[str, Point], list[str]]:
    known = set(type(template).model_fields) - {"kind"}
    fields = [field for field in (sweep.grid or sweep.choose) if field not in known]
    if fields:
        return {}, [
            f"sweeps.{name}.{sweep.part}.{field}: {_unknown(field, known)}" for field in fields
        ]
    if wrong := _fractions(name, sweep, template):
        return {}, wrong
    points, refused, mistakes = {}, _Refused(name, sweep.part), _incomparable(name, sweep)
    fixed = template.model_dump(exclude_unset=True)
    for values in sweep.points():
        try:
            method = type(template).model_validate(fixed | values)
        except ValidationError as error:
            refused.add(values, error)
            continue
        points[f"{name} {_named(method, values)}"] = Point(sweep=name, method=method)
        mistakes += _unstoppable(name, sweep, method)
    return points, refused.lines() + mistakes


def _unknown(field: str, known: Iterable[str]) -> str:
    if field in ("seed", "seeds"):
        return "seeds are an axis of the experiment; write seeds: [0, 1] beside sweeps"
    if field == "kind":
        return "a sweep is over one kind of method; write a sweep for each"
    return f"unknown key.{nearest(field, known)}"


class _Refused:
    """What pydantic refuses of a sweep's points, each mistake once however many points make it."""

    def __init__(self, name: str, part: str) -> None:
        self._name, self._part = name, part
        self._found: dict[tuple[str, str], list[str]] = {}

    def add(self, values: Mapping[str, Any], error: ValidationError) -> None:
        """What is wrong with one point: with a field of it, or with several together."""
        for part in error.errors():
            message = part["msg"].removeprefix("Value error, ")
            field = str(part["loc"][0]) if part["loc"] else ""
            if field in values:
                where, shown = f"{self._part}.{field}", _shown(values[field])
            else:
                where = ""
                shown = " ".join(f"{key}={_shown(value)}" for key, value in values.items())
            seen = self._found.setdefault((where, message), [])
            if shown not in seen:
                seen.append(shown)

    def lines(self) -> list[str]:
        """Where it stands in the file, at which value or point first, and at how many more."""
        found = []
        for (where, message), (first, *more) in self._found.items():
            others = f" and {len(more)} more" if more else ""
            at = f".{where}: {first}{others}" if where else f": at {first}{others}"
            found.append(f"sweeps.{self._name}{at}: {message}")
        return found


def _fractions(name: str, sweep: Sweep, template: Any) -> list[str]:
    """Ranges of fields that take whole numbers only, from which others would be drawn."""
    fields = type(template).model_fields
    return [
        f"sweeps.{name}.choose.{field}: {field} is a whole number; add integer: true to its range"
        for field, choice in sweep.choose.items()
        if isinstance(choice, Range)
        and not choice.integer
        and int in (kind := fields[field].annotation, *get_args(kind))
        and float not in get_args(kind)
    ]


def _incomparable(name: str, sweep: Sweep) -> list[str]:
    """Early stopping compares losses, so all of them must be of the same rows."""
    if sweep.early_stop is None:
        return []
    varied = [
        field
        for field, choice in (sweep.grid or sweep.choose).items()
        if field in MEASURED and (isinstance(choice, Range) or len(set(map(str, choice))) > 1)
    ]
    return [
        f"sweeps.{name}.{sweep.part}.{field}: early_stop compares losses on held-out rows, and "
        f"with another {field} they are of other rows; remove one of the two"
        for field in varied
    ]


def _unstoppable(name: str, sweep: Sweep, method: Any) -> list[str]:
    """Why early stopping would do nothing, for one method of a sweep."""
    if sweep.early_stop is None:
        return []
    where, grace = f"sweeps.{name}.early_stop", sweep.early_stop.asha.grace
    if not method.held_out:
        return [
            f"{where}: it compares the loss on held-out rows; set held_out of "
            f"{sweep.method}, such as 0.05"
        ]
    if method.steps is None:
        return []
    first = max(grace if grace >= 1 else grace * method.steps, method.evaluate_every)
    if first < method.steps:
        return []
    return [
        f"{where}: nothing would be stopped: the first measurement that counts is at step "
        f"{math.ceil(first)}, and training ends at {method.steps}; lower grace or evaluate_every"
    ]


def _drawn(choice: Any, uniform: float) -> Any:
    return choice.draw(uniform) if isinstance(choice, Range) else choice[int(uniform * len(choice))]


def _named(method: Any, fields: Iterable[str]) -> str:
    return " ".join(f"{field}={_shown(getattr(method, field))}" for field in fields)


def _shown(value: Any) -> str:
    """A value as its name shows it: short, and two that differ look different."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    if isinstance(value, list | tuple):
        return "+".join(map(_shown, value))
    return str(value)
