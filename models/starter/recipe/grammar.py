"""What a family of problems is: slots, the parts that fill them, and the sentence and code they
compose to.

Texts are templates. `$slot` stands for the text of the part in that slot, `$0`, `$1` for the names
of the arguments, `$k` for a part's own constant.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from random import Random

from models.starter.recipe.names import ARGUMENT_NAMES, is_held_out

Value = object
"""An argument or an answer: built from int, bool, str, list and dict with str keys."""
ArgumentMaker = Callable[[Random], list[Value]]
PLACEHOLDER = re.compile(r"\$(\w+)")


@dataclass(frozen=True, slots=True)
class Part:
    """One building block: how it is said in English and how it is written in Python."""

    key: str
    code: str
    phrases: tuple[str, ...]
    constants: tuple[int | str, ...] = ()
    """Values `$k` may take; the same one in phrase and code."""
    word: str | None = None
    """Its fragment of a function name; the key when None, nothing when empty."""
    zero: str = "0"
    """What a fold starts from: `$zero` in the body of the family."""
    separator: tuple[str, str] | None = None
    """For a part that splits text: the character that random arguments are made with, and the one
    it splits at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of problem: every choice of one part per slot is a composition."""

    name: str
    slots: Mapping[str, tuple[Part, ...]]
    sentences: tuple[str, ...]
    """Noun phrases that complete "Return ..."."""
    body: str
    arguments: ArgumentMaker
    nouns: tuple[str, ...]
    """Kinds of argument names, in the order of the arguments."""
    clauses: Mapping[str, str] = field(default_factory=dict)
    """Code that several parts of the family share."""
    prefer: Callable[[Mapping[str, Part]], bool] = lambda parts: True
    """Refuses compositions that make no sense."""


@dataclass(frozen=True, slots=True)
class Composition:
    """One part per slot of a family."""

    family: Family
    parts: Mapping[str, Part]

    @property
    def key(self) -> str:
        """Its identity, without constants and wording: `list:filter=even|map=square|agg=sum`."""
        return f"{self.family.name}:" + "|".join(
            f"{slot}={part.key}" for slot, part in self.parts.items()
        )

    @property
    def function_name(self) -> str:
        """A name that hints at the parts, as in `sum_square_even`; never one word, which could be a
        builtin."""
        words = [
            part.key if part.word is None else part.word
            for part in reversed(list(self.parts.values()))
        ]
        words = [word for word in words if word]
        return "_".join(words if len(words) > 1 else [*words, self.family.name.split()[-1]])

    def arguments(self, rng: Random) -> list[Value]:
        """Random arguments for a function of this composition."""
        values = self.family.arguments(rng)
        for made, wanted in (part.separator for part in self.parts.values() if part.separator):
            values = [
                value.replace(made, wanted) if isinstance(value, str) else value for value in values
            ]
        return values


@dataclass(frozen=True, slots=True)
class Function:
    """A composition written out."""

    composition: Composition
    name: str
    parameters: tuple[str, ...]
    meaning: str
    """What it returns, as a noun phrase with arguments in backticks."""
    body: str
    """Its lines, indented by four spaces, without a trailing newline."""

    @property
    def call(self) -> str:
        """`name(first, second)`."""
        return f"{self.name}({', '.join(self.parameters)})"

    @property
    def signature(self) -> str:
        """`def name(first, second):`."""
        return f"def {self.call}:"

    @property
    def code(self) -> str:
        """The whole function, without a trailing newline."""
        return f"{self.signature}\n{self.body}"


def compositions(family: Family, *, held_out: bool) -> tuple[Composition, ...]:
    """The benchmark's share of a family's compositions, or the training share, in a fixed order."""
    chosen = (
        dict(zip(family.slots, parts, strict=True)) for parts in product(*family.slots.values())
    )
    all_of_them = (Composition(family, parts) for parts in chosen if family.prefer(parts))
    return tuple(
        composition for composition in all_of_them if is_held_out(composition.key) is held_out
    )


def fill(template: str, bindings: Mapping[str, str]) -> str:
    """The template with every placeholder replaced, those inside replacements included."""
    text = template
    while "$" in text:
        text = PLACEHOLDER.sub(lambda match: bindings[match[1]], text)
    return text


def write(
    composition: Composition, rng: Random, *, held_out_names: bool = False, name: str = ""
) -> Function:
    """Write a composition with random constants, wording and argument names.

    Args:
        composition: what to write.
        rng: source of the choices.
        held_out_names: draw argument names from the benchmark's share.
        name: of the function; its descriptive name when empty.
    """
    family = composition.family
    name = name or composition.function_name
    phrases: dict[str, str] = {}
    codes: dict[str, str] = {"name": name, "zero": "0", **family.clauses}
    parameters: list[str] = []
    for noun_kind in family.nouns:
        names = ARGUMENT_NAMES[noun_kind, held_out_names]
        parameters.append(rng.choice([other for other in names if other not in parameters]))
    for position, parameter in enumerate(parameters):
        phrases[str(position)] = f"`{parameter}`"
        codes[str(position)] = parameter
    for slot, part in composition.parts.items():
        constant = str(rng.choice(part.constants)) if part.constants else ""
        phrases[slot] = rng.choice(part.phrases).replace("$k", constant)
        codes[slot] = part.code.replace("$k", constant)
        codes["zero"] = part.zero
    body = "\n".join(f"    {line}" for line in fill(family.body, codes).split("\n"))
    return Function(
        composition, name, tuple(parameters), fill(rng.choice(family.sentences), phrases), body
    )
