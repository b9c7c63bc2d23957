"""Text that a model or a stranger's file wrote, on its way to a page: shown as text, never read.

It goes into code blocks only, never into Markdown or HTML, so that no link in it acts. What would
not be seen, or would move what stands beside it, is written as an escape.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from unicodedata import category, combining

import streamlit as st

from database.stored import UNHOLDABLE
from leaderboard.words import CODE_LIMIT, count, plain, small

GLANCE = 4_000
"""Characters of a text that stands among others."""
LINES = 1_000
"""More of them scroll in a window of their own, and are not coloured."""
LONG_LINE = 1_000
"""Characters; a text with a longer line is not coloured, which would be slow."""
WINDOW = 480
"""Pixels."""
STACKED = 4
"""Marks above or below one letter; more would cover the lines around it."""
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp", "Zs"})
"""Unicode categories: controls, format and bidi marks, surrogates, private use, separators."""
BLANK = frozenset(
    map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2065, 0x2800, 0x3164, 0xFFA0))
)
"""Letters and marks that show nothing, whatever their category says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visible:
    """A text of which every character can be seen."""

    text: str
    escaped: int
    """Characters written as escapes."""
    unholdable: int
    """U+FFFD in it: what no database holds became one of these."""


def visible(text: str) -> Visible:
    r"""Return text with everything that cannot be seen written as an escape, such as `\u202e`."""
    shown: list[str] = []
    escaped = stacked = 0
    for letter in text:
        stacked = stacked + 1 if combining(letter) else 0
        hidden = stacked > STACKED or _unseen(letter)
        shown.append(_escape(letter) if hidden else letter)
        escaped += hidden
    return Visible(text="".join(shown), escaped=escaped, unholdable=text.count(UNHOLDABLE))


def seen(text: str) -> str:
    """Return a name that a stranger gave as one line, all of it seen; it is no Markdown yet."""
    return visible(text[:300].replace("\n", " ")).text


def word(text: str) -> str:
    """Return a name that a stranger gave as one line of Markdown that shows it to the letter."""
    return plain(seen(text))


def pages(text: str) -> int:
    """Return how many pages a text fills; an empty one fills one."""
    return max(1, ceil(len(text) / CODE_LIMIT))


def page_of(text: str, number: int) -> str:
    """Return one page of a text.

    Args:
        text: the whole.
        number: from 1; beyond the last: the last.
    """
    start = (min(number, pages(text)) - 1) * CODE_LIMIT
    return text[start : start + CODE_LIMIT]


def notes(shown: Visible) -> list[str]:
    """Return what to know of a text that is shown, as sentences in Markdown."""
    said = []
    if shown.escaped:
        verb = "is written as an escape" if shown.escaped == 1 else "are written as escapes"
        said.append(
            f"{count(shown.escaped, 'character')} that would not show {verb}, such as `\\x1b`."
        )
    if shown.unholdable:
        said.append(
            f"{count(shown.unholdable, 'character')} U+FFFD: NULs and broken Unicode are stored "
            "as these."
        )
    return said


def file_name(name: str) -> str:
    """Return a name for a file with a text in it, of letters that every system takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:100] + ".txt"


def as_file(text: str) -> bytes:
    """Return the whole text, to the letter where UTF-8 can say it."""
    return text.encode("utf-8", "backslashreplace")


def show(
    text: str, *, language: str | None, key: str, name: str, line_numbers: bool = False
) -> None:
    """Show a text a page at a time, and offer the whole as a file where that is not all of it.

    Args:
        text: anything.
        language: to colour it by; None: not at all.
        key: of the page's number in the URL; unique on the page.
        name: of the file, without its ending.
        line_numbers: whether lines are numbered, on the first page.
    """
    number, several = 1, pages(text) > 1
    if several:
        number = st.pagination(pages(text), key=key, bind="query-params")
    shown = visible(page_of(text, number))
    _block(shown.text, language, line_numbers and number == 1)
    said = notes(shown)
    if several:
        first = (number - 1) * CODE_LIMIT
        last = min(first + CODE_LIMIT, len(text))
        said.insert(0, f"Characters {first + 1:,} to {last:,} of {len(text):,}.")
    if said:
        st.markdown(small(" ".join(said)))
        download(lambda: text, key=key, name=name)


def glance(text: str, *, language: str | None, more: str = "") -> None:
    """Show the start of a text that stands among others.

    Args:
        text: anything.
        language: to colour it by; None: not at all.
        more: Markdown said where more of it is left out, such as a link to the rest.
    """
    shown = visible(text[:GLANCE])
    _block(shown.text, language, False)
    said = notes(shown)
    if len(text) > GLANCE:
        said.insert(0, f"The first {GLANCE:,} characters. {more}".rstrip())
    if said:
        st.markdown(small(" ".join(said)))


def download(text: Callable[[], str], *, key: str, name: str) -> None:
    """Offer a whole text as a file; it is made when somebody asks for it."""
    st.download_button(
        "Download the whole text",
        lambda: as_file(text()),
        file_name(name),
        "text/plain",
        key=f"{key}-whole",
        on_click="ignore",
    )


def _block(text: str, language: str | None, line_numbers: bool) -> None:
    lines = text.splitlines()
    many = len(lines) > LINES
    simple = many or any(len(line) > LONG_LINE for line in lines)
    whole = f"\n{text}" if text.startswith("\n") else text  # a code block leaves the first out
    st.code(
        whole,
        language=None if simple else language,
        line_numbers=line_numbers and not simple,
        wrap_lines=True,
        height=WINDOW if many else "content",
    )


@lru_cache(maxsize=4096)
def _unseen(letter: str) -> bool:
    code = ord(letter)
    if letter in " \n\t":
        return False
    variation = 0xFE00 <= code <= 0xFE0F
    special = 0xFFF0 <= code <= 0xFFF8 or 0xE0000 <= code <= 0xE0FFF
    return variation or special or letter in BLANK or category(letter) in UNSEEN


def _escape(letter: str) -> str:
    code = ord(letter)
    if letter == "\r":
        return "\\r"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
