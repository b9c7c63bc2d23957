"""Numbers as people read them. Every function is pure; fractions come in, text goes out."""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from database.comparisons import Difference, Verdict
from database.exchange import in_words
from database.facts import Result, Standing

CODE_LIMIT = 20_000
"""Characters of a model's text that a page carries; more is cut and said so."""
NONE = "\u2013"
"""An empty cell: a hyphen would be a Markdown list."""
JOINED = str.maketrans(" ", "\u00a0")
"""A number stays on one line with its unit, so that a narrow table scrolls, not wraps."""
Colour = Literal["green", "red", "gray", "blue", "orange"]
BADGES: dict[str, Colour] = {
    "done": "green",
    "failed": "red",
    "stalled": "orange",
    "stopped": "orange",
    "waiting": "gray",
}
"""By the state of a run or training; the others are at work, and blue."""
JOINER = "\u2060"
ADDRESSES = re.compile(r"(?i)https?:/(?=/)|www(?=\.)|@(?=[-\w]+\.)")
"""The beginnings of what Markdown makes links of by itself."""
MARKS = re.compile(f"[{re.escape(string.punctuation)}]")


def percent(fraction: float) -> str:
    """Return `68.9 %`; the space does not break."""
    return f"{100 * fraction:.1f} %".translate(JOINED)


def interval(low: float, high: float) -> str:
    """Return `64.9 to 72.9`, in percent; the spaces do not break."""
    return f"{100 * low:.1f} to {100 * high:.1f}".translate(JOINED)


def difference(delta: Difference, verdict: Verdict | None = None) -> str:
    """Return `+41.3 points, better (37.0 to 45.6)`; it breaks before the interval only.

    Args:
        delta: against the base.
        verdict: in view of other comparisons; None: that of this one alone.
    """
    return " (".join(part.translate(JOINED) for part in in_words(delta, verdict).split(" ("))


def against_base(standing: Standing) -> str:
    """Return the difference of a score from its base in words, or why there is none."""
    result = standing.result
    if result.why:
        return f"not comparable: {plain(result.why)}"
    if result.delta is not None:
        return difference(result.delta, result.verdict)
    return "no score of its base yet" if result.base else NONE


def tuning(result: Result) -> str:
    """Return what was done to the model: `lora on starter`, or `base`."""
    if result.method is None:
        return "base" if result.base is None else "imported answers"
    return f"{result.method} on {result.dataset}" if result.dataset else result.method


def names_of(standings: Sequence[Standing]) -> list[str]:
    """Return a name for each, with the run's id where several share one."""
    names = told_apart({standing.result.run: _name(standing) for standing in standings})
    return [names[standing.result.run] for standing in standings]


def told_apart(names: Mapping[str, str]) -> dict[str, str]:
    """Return names by id, with the id behind those that several share."""
    shared = Counter(names.values())
    return {key: f"{name} ({key})" if shared[name] > 1 else name for key, name in names.items()}


def small(text: str) -> str:
    """Return Markdown at the size of a caption; captions are too faint for links and code."""
    return f":small[{text}]"


def _name(standing: Standing) -> str:
    result = standing.result
    name = f"{result.model}, {tuning(result)}"
    return name if result.base is None else f"{name}, seed {result.seed}"


def coverage(standing: Standing) -> str:
    """Return `164 of 164`: problems judged, of those asked."""
    return f"{standing.result.problems} of {standing.asked}".translate(JOINED)


def span(seconds: float) -> str:
    """Return a length of time to two figures: `30 ms`, `40 s`, `3 min`, `2.5 h`, `4 days`."""
    if 0 < seconds < 0.1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"


def ago(then: datetime, now: datetime) -> str:
    """Return `40 s ago`; both moments carry their time zone."""
    seconds = (now - then).total_seconds()
    return "just now" if seconds < 1 else f"{span(round(seconds))} ago"


def count(number: int, noun: str) -> str:
    """Return `1 run`, `2 runs`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def colour(state: str) -> Colour:
    """Return the colour of a state's badge; its word says the same."""
    return BADGES.get(state, "blue")


def badge(state: str) -> str:
    """Return a state as Markdown draws it in a table."""
    return f":{colour(state)}-badge[{state}]"


def plain(text: str) -> str:
    """Return text that Markdown shows to the letter: every ASCII punctuation mark is escaped.

    Addresses become links after that is undone, so each has a mark of no width in it.
    """
    apart = ADDRESSES.sub(lambda found: f"{found[0]}{JOINER}", text.replace("\n", " "))
    return MARKS.sub(r"\\\g<0>", apart)


def program(text: str, prompt: str, *, whole: bool) -> str:
    """Return an answer behind the prompt that it continues, unless it is a whole program."""
    return text if whole else f"{prompt}{text}"


def cut(text: str) -> str:
    """Return at most `CODE_LIMIT` characters, with a last line that says what was left out."""
    if len(text) <= CODE_LIMIT:
        return text
    return f"{text[:CODE_LIMIT]}\n... {len(text) - CODE_LIMIT:,} more characters are not shown"
