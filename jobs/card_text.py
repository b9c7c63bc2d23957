"""Markdown of a card out of text that anybody may have written."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

URL = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&'*+,;=%()-]*[A-Za-z0-9/_~=&#-]")
WORDS = re.compile(r"[A-Za-z][A-Za-z0-9 ._/<>-]*")
"""Needs no quotes in front matter, unless YAML has a meaning for it. All else is one line between
quotes, line breaks and controls escaped."""
MARKS = re.compile(r"[\\`*_{}\[\]<>#|~&$!^]")
Cells = Sequence[str | int]
"""A row of a table."""
LEADING = re.compile(r"^([-+=]|\d+(?=[.)](\s|$)))")
"""What would make a list, a rule or a heading of a line that it begins."""


class _Dumper(yaml.SafeDumper):
    """Writes strings so that YAML 1.1 and 1.2, which the hub reads, find the same in them."""


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if WORDS.fullmatch(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)


def document(about: Mapping[str, Any], *blocks: str) -> str:
    """A card: front matter in the order given, then blocks, an empty line between two."""
    matter = yaml.dump(
        dict(about), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf")
    )
    body = "\n\n".join(block for block in blocks if block)
    return f"---\n{matter}---\n\n{body}\n"


def plain(text: str) -> str:
    """One line that Markdown and HTML show to the letter; addresses become links."""
    line = one_line(text)
    parts, end = [], 0
    for url in URL.finditer(line):
        parts += [_escaped(line[end : url.start()]), f"<{url.group()}>"]
        end = url.end()
    return LEADING.sub(_lead, "".join([*parts, _escaped(line[end:])]))


def one_line(text: str) -> str:
    """Text without line breaks, controls and what no file holds, each run of them a space."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def bullets(lines: Iterable[str]) -> str:
    """A list, one line each."""
    return "\n".join(f"- {plain(line)}" for line in lines)


def table(heads: Sequence[str], rows: Sequence[Cells]) -> str:
    """A table; columns of numbers are aligned to the right."""
    columns = zip(*rows, strict=True) if rows else [() for _ in heads]
    rule = ["---:" if _numbers(column) else "---" for column in columns]
    lines = [heads, rule, *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _numbers(column: Sequence[str | int]) -> bool:
    return bool(column) and all(isinstance(cell, int) for cell in column)


def _cell(cell: str | int) -> str:
    return f"{cell:,}" if isinstance(cell, int) else plain(cell)


def _escaped(text: str) -> str:
    return MARKS.sub(r"\\\g<0>", text)


def _lead(found: re.Match[str]) -> str:
    mark = found.group()
    return f"{mark}\\" if mark.isdigit() else f"\\{mark}"
