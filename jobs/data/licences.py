"""Licences recognised in the text of a file.

A text is recognised by sentences that only one licence has; what has none of them, or a condition
beside them (Commons Clause), stays unknown and lets no row in. This is no legal advice.
"""

import re

from jobs.data.terms import names

_TAG = re.compile(r"SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+() -]+)")
_LICENCE_FILE = re.compile(r"(licen[cs]e|copying|unlicen[cs]e)([.-].*)?", re.IGNORECASE)

_SENTENCES: tuple[tuple[str, str], ...] = (
    ("Apache-2.0", "apache license version 2.0, january 2004"),
    ("Apache-2.0", "licensed under the apache license, version 2.0"),
    ("GPL-2.0-only", "gnu general public license version 2, june 1991"),
    ("GPL-3.0-only", "gnu general public license version 3, 29 june 2007"),
    ("LGPL-2.1-only", "gnu lesser general public license version 2.1, february 1999"),
    ("LGPL-3.0-only", "gnu lesser general public license version 3, 29 june 2007"),
    ("AGPL-3.0-only", "gnu affero general public license version 3, 19 november 2007"),
    ("MPL-2.0", "mozilla public license version 2.0"),
    ("EPL-2.0", "eclipse public license - v 2.0"),
    ("BSL-1.0", "boost software license - version 1.0"),
    ("Unlicense", "this is free and unencumbered software released into the public domain"),
    ("CC0-1.0", "cc0 1.0 universal"),
    ("CC-BY-NC-SA-4.0", "attribution-noncommercial-sharealike 4.0 international"),
    ("CC-BY-NC-4.0", "attribution-noncommercial 4.0 international"),
    ("CC-BY-SA-4.0", "attribution-sharealike 4.0 international"),
    ("CC-BY-4.0", "attribution 4.0 international"),
    ("PSF-2.0", "python software foundation license version 2"),
    ("Zlib", "altered source versions must be plainly marked as such"),
)
_MIT = "permission is hereby granted, free of charge, to any person obtaining a copy"
_BSD = "redistribution and use in source and binary forms"
_ISC = "permission to use, copy, modify, and"
_FURTHER = ("commons clause", "non-commercial use only", "noncommercial use only")


def recognised(text: str) -> str:
    """The SPDX expression of a licence's text, or "" for one that is not known."""
    plain = " ".join(re.sub(r"[^\w.,/-]+", " ", text.lower()).split())
    if any(clause in plain for clause in _FURTHER):
        return ""
    found = {name for name, sentence in _SENTENCES if _plain(sentence) in plain}
    if _MIT in plain:
        found.add("MIT" if "permission notice shall be included" in plain else "MIT-0")
    if _BSD in plain:
        endorsed = "endorse or promote products" in plain
        found.add("BSD-3-Clause" if endorsed else "BSD-2-Clause")
    if _ISC in plain and "with or without fee" in plain:
        kept = "provided that the above copyright notice" in plain
        found.add("ISC" if kept else "0BSD")
    return " AND ".join(sorted(found))


def declared_in(source: str) -> str:
    """The SPDX expression that the head of a file declares (its first 30 lines), or ""."""
    tag = _TAG.search("\n".join(source.splitlines()[:30]))
    expression = tag.group(1).strip(" -") if tag else ""
    return expression if names(expression) else ""


def is_licence_file(name: str) -> bool:
    """Whether a file of this name (no folder) holds a licence."""
    return bool(_LICENCE_FILE.fullmatch(name)) and not name.lower().endswith((".py", ".js"))


def _plain(sentence: str) -> str:
    return " ".join(re.sub(r"[^\w.,/-]+", " ", sentence).split())
