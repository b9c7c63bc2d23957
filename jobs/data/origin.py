"""Where rows are from: what a recipe says about one source, and how it is pinned by content."""

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from jobs.data.checkout import tree_digest
from jobs.data.terms import check, names
from jobs.declared import Declared, UserError

READERS_VERSION = 2
"""Raised by hand when the same content would be read as other rows."""
MEBIBYTE = 1 << 20

FormatName = Literal[
    "fields",
    "mbpp",
    "custom",
    "leetcode",
    "code-contests",
    "stack",
    "functions",
    "exercism",
    "interactive-coding",
]
_OPTIONS: dict[str, tuple[str, ...]] = {
    "rating": ("code-contests",),
    "solutions": ("code-contests",),
    "tests": ("code-contests",),
    "unit": ("stack", "functions"),
    "fields": ("fields",),
}
"""Option -> the formats that have it."""


class FieldMap(Declared):
    """Which column becomes which part of a row; `a.b` is field b of the object in column a."""

    instruction: str = ""
    """Empty: there are no questions, the rows are plain code."""
    input: str = ""
    response: str = ""
    tests: str = ""
    """A list of tests in the custom form, or its JSON text."""
    entry_point: str = ""
    preamble: str = ""
    messages: str = ""
    """A list of chat turns, `{role, content}` or `{from, value}`: the first of the user asks, and
    the first of the assistant answers."""

    @model_validator(mode="after")
    def _answered(self) -> Self:
        if self.messages and (self.instruction or self.input or self.response):
            raise ValueError("messages has question and answer in it; leave the others out")
        if not self.messages and not self.response:
            raise ValueError("name the column of the response (or of messages)")
        return self

    def mapped(self) -> dict[str, str]:
        """Part of a row -> column, for the parts that have one."""
        return {part: column for part, column in self.model_dump().items() if column}


class Source(Declared):
    """One source of rows, pinned; exactly one of file, files, hub, checkout and tree is given.

    A source may lack its pin, so that a recipe can be shipped whose pin nobody has looked up yet;
    it is refused when it is used (`require_pin`).
    """

    file: str = ""
    """Looked for beside the recipe, then anywhere below `CODELADDER_DATA`."""
    sha256: str = ""
    """Of `file`; of the files of `tree`, as `checkout.tree_digest` defines it."""
    files: dict[str, str] = Field(default_factory=dict)
    """Name -> sha256; read in the order of the names."""
    hub: str = ""
    """A dataset of the Hugging Face hub, `owner/name`, or a local folder in its format, which has
    no commits: the digest of its files is then part of `reading`."""
    subset: str = ""
    data_dir: str = ""
    data_files: tuple[str, ...] = ()
    checkout: str = ""
    """Folder of a git repository: the files of commit `revision` are read, not the work tree."""
    tree: str = ""
    """A plain folder, for what is no git repository."""
    revision: str = ""
    """Commit of `hub` or `checkout`, 40 hex digits: names of branches move."""
    split: str = ""
    """Of `hub` (default train); of MBPP by its ids: train, validation, test or prompt."""
    url: str = ""
    """Where its authors publish it: for people, never fetched here."""
    licence: str
    """SPDX expression. Where rows have licences of their own (`checkout`, `tree`, `stack`), those
    that are named here are the ones let in, `MIT AND Apache-2.0`."""
    attribution: str = ""
    terms: str = ""
    """Terms beyond the licence, in words."""
    format: FormatName = "fields"
    fields: FieldMap | None = None
    """Default: instruction, input and response, by these names."""
    paths: tuple[str, ...] = ()
    """Of `checkout` and `tree`: only files that match one of these patterns (`src/**/*.py`)."""
    unit: Literal["function", "file"] = "function"
    """A row is a function asked for by its docstring, or a whole file without a question."""
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Column -> the values it may have, whatever their case; records with another are left out."""
    rating: tuple[int, int] | None = None
    """Lowest and highest Codeforces rating; problems without one are left out then."""
    solutions: int = Field(default=1, ge=1)
    """Most solutions of one problem."""
    tests: int = Field(default=20, ge=0)
    """Most tests of one problem: public, then private, then generated ones."""
    largest: int = Field(default=MEBIBYTE, ge=1)
    """Bytes of a row's text, tests included; larger rows are refused."""
    weight: float = Field(default=1.0, gt=0, le=100, allow_inf_nan=False)
    """0.5: half of the rows; 2: each row twice."""
    most: int | None = Field(default=None, ge=1)
    """At most so many rows."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        named = [kind for kind in _KINDS if getattr(self, kind)]
        if len(named) != 1:
            found = f"{' and '.join(named)} are" if named else "none is"
            raise ValueError(f"name one of file, files, hub, checkout or tree; {found} given")
        for wrong in (*_misplaced(self, named[0]), *_malformed(self)):
            raise ValueError(wrong)
        return self

    @property
    def kind(self) -> str:
        """`file`, `files`, `hub`, `checkout` or `tree`."""
        return next(kind for kind in _KINDS if getattr(self, kind))

    @property
    def mapping(self) -> FieldMap:
        """The columns of format `fields`."""
        return self.fields or FieldMap(
            instruction="instruction", input="input", response="response"
        )

    @property
    def allowed(self) -> frozenset[str]:
        """Licences that rows with one of their own may have, in lower case."""
        return frozenset(name.lower() for name in names(self.licence))

    def reading(self) -> dict[str, Any]:
        """All that shapes the rows that are read: pins, never names, addresses or attribution."""
        told = {
            "url",
            "attribution",
            "terms",
            "weight",
            "most",
            "file",
            "files",
            "checkout",
            "tree",
        }
        content = self.model_dump(mode="json", exclude=told)
        content["fields"] = self.mapping.model_dump() if self.format == "fields" else None
        content["licence"] = sorted(self.allowed) if _own_licences(self) else self.licence
        content["files"] = [
            (_suffixes(file), self.files.get(file, ""))
            for file in ([self.file] if self.file else sorted(self.files))
        ]
        if self.hub and Path(self.hub).is_dir():
            content["folder"] = tree_digest(Path(self.hub))
        return {"kind": self.kind, "version": READERS_VERSION, **content}

    def content(self) -> dict[str, Any]:
        """`reading`, and how often each row is written."""
        return {**self.reading(), "weight": self.weight, "most": self.most}

    def require_pin(self, name: str) -> None:
        """Refuse a source that would be read as whatever its authors have there today.

        A `tree` without a pin is refused by `sources.parts`, which can tell its digest.

        Raises:
            UserError: a pin is missing; with where to find it.
        """
        pin = "revision" if self.kind in ("hub", "checkout") else "sha256"
        pins = list(self.files.values()) if self.files else [getattr(self, pin)]
        if not all(pins) and not self.tree:
            raise UserError(f"source {name!r} is not pinned: {_how_to_pin(self)}")


_KINDS = ("file", "files", "hub", "checkout", "tree")
_FITS = {
    "sha256": ("file", "tree"),
    "revision": ("hub", "checkout"),
    "subset": ("hub",),
    "data_dir": ("hub",),
    "data_files": ("hub",),
    "paths": ("checkout", "tree"),
}
"""Key -> the kinds of source that have it."""


def _own_licences(source: Source) -> bool:
    return source.kind in ("checkout", "tree") or source.format == "stack"


def _misplaced(source: Source, kind: str) -> list[str]:
    """Keys that say nothing about a source of this kind and format."""
    given = source.model_fields_set
    wrong = [
        f"{key} says nothing about {kind}; it belongs to {' and '.join(kinds)}"
        for key, kinds in _FITS.items()
        if key in given and getattr(source, key) and kind not in kinds
    ]
    wrong += [
        f"{key} says nothing about format {source.format}; it belongs to {' and '.join(formats)}"
        for key, formats in _OPTIONS.items()
        if key in given and source.format not in formats
    ]
    if source.split and kind != "hub" and source.format != "mbpp":
        wrong.append("split belongs to hub and to format mbpp")
    folder = kind in ("checkout", "tree")
    if folder != (source.format == "functions") and not (folder and source.format == "exercism"):
        wrong.append(f"format {source.format} cannot be read from {kind}")
    return wrong


def _malformed(source: Source) -> list[str]:
    wrong = [
        f"sha256 {digest!r} is no sha256; 64 hex digits are expected"
        for digest in (source.sha256, *source.files.values())
        if digest and not re.fullmatch(r"[0-9a-f]{64}", digest)
    ]
    if source.revision and not re.fullmatch(r"[0-9a-f]{40}", source.revision):
        wrong.append(f"revision {source.revision!r} is no commit; 40 hex digits are expected")
    try:
        check(source.licence)
    except UserError as error:
        wrong.append(str(error))
    if source.rating and source.rating[0] > source.rating[1]:
        wrong.append(f"rating {list(source.rating)} is empty: the lower bound comes first")
    return wrong


def _how_to_pin(source: Source) -> str:
    match source.kind:
        case "hub":
            where = f"https://huggingface.co/datasets/{source.hub}/commits"
            return f"put the commit shown at {where} into revision"
        case "checkout":
            return f"put what `git -C {source.checkout} rev-parse HEAD` prints into revision"
        case _:
            name = source.file or next(n for n, pin in source.files.items() if not pin)
            return f"put what `sha256sum {name}` prints into the recipe"


def _suffixes(name: str) -> str:
    """What says how a file is read: `.jsonl.gz`."""
    return "".join(re.findall(r"\.[a-z]+", name.lower())[-2:])
