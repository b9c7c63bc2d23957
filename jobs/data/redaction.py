"""Rows with keys and personal data replaced by stand-ins that are nobody's.

Unlike BigCode's `<EMAIL>`, the stand-in of an address is an address, so that code which reads it
still runs and its tests still hold; it comes from the ranges reserved for documentation. The same
value becomes the same stand-in in all of a row.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from jobs.data.personal import personal_in
from jobs.data.row import Row
from jobs.data.secrets import Find, secrets_in

_STAND_INS: dict[str, Callable[[int], str]] = {
    "e-mail": "user{}@example.com".format,  # RFC 2606
    "ipv4": lambda n: f"192.0.2.{n % 256}",  # RFC 5737
    "ipv6": "2001:db8::{:x}".format,  # RFC 3849
}
_KEY = "<KEY>"
"""For every key, as in bigcode-dataset pii/ner/pii_redaction/utils.py."""


def shown(row: Row) -> str:
    """All of a row that a model sees in training."""
    return "\n".join((row.instruction, row.input, row.response))


def secrets_of(row: Row) -> dict[str, str]:
    """The keys and tokens that a row shows, each with its kind, in their order."""
    text = shown(row)
    return _kinds(text, secrets_in(text))


def personal_of(row: Row) -> dict[str, str]:
    """The addresses that a row shows, each with its kind, in their order.

    What the row's own tests use is data of the task, not of a person, and is left out.
    """
    text = shown(row)
    found = _kinds(text, personal_in(text))
    return {value: kind for value, kind in found.items() if value not in row.tests}


def _kinds(text: str, finds: Sequence[Find]) -> dict[str, str]:
    return {text[find.start : find.end]: find.kind for find in finds}


def redacted(row: Row, secrets: bool, personal: bool) -> Row:
    """The row with its keys and its personal data, as asked, replaced; itself where it has none.

    Tests and preamble change with what a model sees, so that they keep fitting it.
    """
    stand_ins = dict.fromkeys(secrets_of(row), _KEY) if secrets else {}
    numbers = dict.fromkeys(_STAND_INS, 0)
    for value, kind in personal_of(row).items() if personal else ():
        numbers[kind] += 1
        stand_ins.setdefault(value, _STAND_INS[kind](numbers[kind]))
    return _replaced(row, stand_ins) if stand_ins else row


def _replaced(row: Row, stand_ins: dict[str, str]) -> Row:
    """The longest value first: one may begin with another."""
    order = sorted(stand_ins, key=len, reverse=True)

    def changed(text: str) -> str:
        for value in order:
            text = text.replace(value, stand_ins[value])
        return text

    names = ("instruction", "input", "response", "tests", "preamble")
    return replace(row, **{name: changed(getattr(row, name)) for name in names})
