"""What licences ask of who trains on a work, ranked, so that the strictest can follow the data.

Kinds of licences are those of ScanCode's index, which comes with `license-expression`; `_READ_ANEW`
lists where its kinds, made for programs, say too little about data. This is no legal advice.
"""

import difflib
import re
from collections.abc import Container, Iterable, Sequence
from enum import IntEnum
from functools import cache, lru_cache
from typing import Any

import license_expression

from jobs.data.report import SourceCount
from jobs.declared import UserError


class Term(IntEnum):
    """What a licence asks for, from nothing to everything."""

    NOTHING = 0
    """Public domain, or as good as: CC0-1.0, Unlicense."""
    NOTICE = 1
    """Copyright and licence text go along with copies: MIT, BSD, Apache-2.0."""
    ATTRIBUTION = 2
    """Who made it, under which licence and whether it was changed, wherever it is shared (CC BY
    4.0, section 3(a)): CC-BY, ODC-By."""
    WEAK_COPYLEFT = 3
    """Changes to the work itself stay under its licence: LGPL, MPL-2.0, EPL-2.0."""
    STRONG_COPYLEFT = 4
    """What is made of it is shared under its licence: GPL, AGPL, CC-BY-SA (CC BY-SA 4.0, section
    3(b)), ODbL."""
    RESTRICTED = 5
    """Some uses are forbidden: source-available and OpenRAIL licences, Llama's."""
    NON_COMMERCIAL = 6
    """No use for commercial advantage (CC BY-NC 4.0, section 1(i)): CC-BY-NC, PolyForm
    Noncommercial."""
    NO_DERIVATIVES = 7
    """Nothing made of it may be shared (CC BY-ND 4.0, section 2(a)(1)): CC-BY-ND, CC-BY-NC-ND."""
    NO_LICENCE = 8
    """All rights reserved, or nobody knows: every LicenseRef- that ScanCode does not list."""


_KINDS = {
    "Public Domain": Term.NOTHING,
    "Permissive": Term.NOTICE,
    "Copyleft Limited": Term.WEAK_COPYLEFT,
    "Copyleft": Term.STRONG_COPYLEFT,
    "Source-available": Term.RESTRICTED,
    "Free Restricted": Term.RESTRICTED,
    "Proprietary Free": Term.RESTRICTED,
    "CLA": Term.NO_LICENCE,
    "Commercial": Term.NO_LICENCE,
    "Patent License": Term.NO_LICENCE,
    "Unstated License": Term.NO_LICENCE,
}
_LISTED = "(LicenseRef-scancode-)?"
_READ_ANEW = (
    (rf"{_LISTED}CC-BY-(NC-)?ND-.*", Term.NO_DERIVATIVES),
    (rf"{_LISTED}CC-BY-NC-.*|.*-Noncommercial-.*|NCGL-UK-2\.0|Aladdin", Term.NON_COMMERCIAL),
    (r"MS-LPL", Term.RESTRICTED),  # section 3(F): only on Windows
    (rf"{_LISTED}CC-BY-SA-.*|GFDL-.*", Term.STRONG_COPYLEFT),
    (
        rf"{_LISTED}CC-BY-[0-9].*|ODC-By-1\.0|DL-DE-BY-2\.0|OGL-(UK|Canada)-.*|etalab-2\.0",
        Term.ATTRIBUTION,
    ),
    (r"0BSD|MIT-0", Term.NOTHING),
)
"""SPDX names whose deed or text asks for another term than ScanCode's kind; the first counts."""
_UNKNOWN = re.compile(r"(DocumentRef-[\w.-]+:)?LicenseRef-[\w.-]+", re.ASCII)
_LIST = "https://spdx.org/licenses/"


def check(expression: str) -> None:
    """Accept an SPDX expression (SPDX 2.3, annex D) of listed names and of LicenseRef- names.

    Raises:
        UserError: with what is wrong and the nearest name.
    """
    parsed = _parsed(expression)
    unknown = [name for name in _names(parsed) if not _is_known(name)]
    if unknown:
        raise UserError(
            f"licence {expression!r}: {unknown[0]!r} is no SPDX name.{_near(unknown[0])}"
        )


def term(expression: str) -> Term:
    """What an expression asks for: of `OR` the mildest, as one may choose, of `AND` the strictest.

    An exception (`WITH`) may forbid as well (Commons Clause), so the stricter of the two counts.

    Raises:
        UserError: it is no SPDX expression.
    """
    check(expression)
    return _term(_parsed(expression))


def strictest(expressions: Iterable[str]) -> str:
    """The expression with the strictest term; those of the same term joined by AND, sorted.

    Empty where there are none.
    """
    distinct = sorted({str(_parsed(expression)) for expression in expressions})
    most = max(map(term, distinct), default=Term.NOTHING)
    top = [one for one in distinct if term(one) == most]
    return str(license_expression.combine_expressions(top, licensing=_spdx())) if top else ""


def names(expression: str) -> tuple[str, ...]:
    """The licences that an expression names, sorted, exceptions left out; none where it is no SPDX
    expression of known names."""
    try:
        check(expression)
    except UserError:
        return ()
    symbols = _spdx().license_symbols(_parsed(expression), decompose=False)
    return tuple(sorted({getattr(one, "license_symbol", one).key for one in symbols}))


def permits(expression: str, allowed: Container[str]) -> bool:
    """Whether what is under an expression may be used where some licences are let in.

    Of alternatives (`OR`) one is enough; of licences joined by `AND` all must be among `allowed`,
    which is in lower case. An exception must not ask for more than its licence does.
    """
    return bool(names(expression)) and _permits(_parsed(expression), allowed)


def needs_attribution(expression: str) -> bool:
    """Whether the authors of a work must be named where it, or a part, is passed on."""
    return term(expression) > Term.NOTHING


def attribution_lines(counts: Sequence[SourceCount]) -> tuple[str, ...]:
    """One line for each source of a mixture whose licence asks for it, in the order given.

    Name, authors, licence with its address, and that the rows were changed: all that CC BY 4.0,
    section 3(a)(1), asks for.
    """
    return tuple(
        f"{count.source}: {count.attribution or 'authors not named'}; licence {count.licence}"
        f"{_address(count.licence)}; rows were selected and reworked"
        for count in counts
        if count.rows_out and needs_attribution(count.licence)
    )


def _address(expression: str) -> str:
    names = _names(_parsed(expression))
    listed = [name for name in names if not name.startswith(("LicenseRef-", "DocumentRef-"))]
    return f" ({', '.join(f'{_LIST}{name}' for name in listed)})" if listed else ""


@lru_cache(maxsize=4096)
def _parsed(expression: str) -> Any:
    """The expression as the library's tree, each name as SPDX spells it."""
    try:
        parsed = _spdx().parse(expression)
    except (license_expression.ExpressionError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"licence {expression!r} is no SPDX expression: {reason}.") from None
    if parsed is None:
        raise UserError(f"a licence is missing: give its SPDX name, as in {_LIST}")
    return parsed


def _names(parsed: Any) -> list[str]:
    """The licences and exceptions an expression names, each once, in their order."""
    return list(dict.fromkeys(str(key) for key in _spdx().license_keys(parsed)))


def _permits(parsed: Any, allowed: Container[str]) -> bool:
    if isinstance(parsed, _spdx().OR):
        return any(_permits(part, allowed) for part in parsed.args)
    if isinstance(parsed, _spdx().AND):
        return all(_permits(part, allowed) for part in parsed.args)
    licence = getattr(parsed, "license_symbol", parsed)
    return licence.key.lower() in allowed and _term(parsed) == _term(licence)


def _term(parsed: Any) -> Term:
    if isinstance(parsed, _spdx().OR):
        return min(map(_term, parsed.args))
    if isinstance(parsed, _spdx().AND):
        return max(map(_term, parsed.args))
    if exception := getattr(parsed, "exception_symbol", None):
        return max(_term_of_name(parsed.license_symbol.key), _term_of_name(exception.key))
    return _term_of_name(parsed.key)


@cache
def _term_of_name(name: str) -> Term:
    for pattern, read in _READ_ANEW:
        if re.fullmatch(pattern, name, re.IGNORECASE):
            return read
    return _KINDS.get(_scancode().get(name.lower(), ""), Term.NO_LICENCE)


def _is_known(name: str) -> bool:
    return name.lower() in _scancode() or bool(_UNKNOWN.fullmatch(name))


def _near(name: str) -> str:
    if name.upper() in ("NOASSERTION", "NONE", "UNKNOWN", "OTHER", "PROPRIETARY"):
        return " Terms that are on no list go by a name of your own: 'LicenseRef-unknown'."
    listed = {known.key.lower(): known.key for known in _spdx().known_symbols.values()}
    spelt = re.sub(r"v(\d)$", r"-\1.0-only", name.lower())  # GPLv3
    close = difflib.get_close_matches(spelt, listed, n=1, cutoff=0.5)
    return f" Did you mean {listed[close[0]]!r}?" if close else f" All names: {_LIST}"


@cache
def _spdx() -> Any:
    return license_expression.get_spdx_licensing()


@cache
def _scancode() -> dict[str, str]:
    """SPDX name in lower case -> ScanCode's kind of licence."""
    kinds = {}
    for entry in license_expression.get_license_index():
        for name in (entry["spdx_license_key"], *entry["other_spdx_license_keys"]):
            if name:
                kinds[name.lower()] = entry["category"]
    return kinds
