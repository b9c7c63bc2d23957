"""Licences recognised in the text of a file.

A text is recognised by sentences that only one licence has; what has none of them, or a condition
beside them (Commons Clause), stays unknown and lets no row in. This is no legal advice.
"""

import re

from jobs.data.terms import names

_TAG = re.compile(r"SPDX-License-Identifier:(.*)", re.IGNORECASE)
_COMMENT_ENDS = " \t*/\"'>#-,"
_LICENCE_FILE = re.compile(r"(licen[cs]e|copying|unlicen[cs]e)([.-].*)?", re.IGNORECASE)

_CREATIVE = "the licensor hereby grants you a worldwide, royalty-free"
_TEXTS: tuple[tuple[str, str, str], ...] = (
    ("Apache-2.0", "apache license version 2.0, january 2004", "grant of copyright license"),
    (
        "Apache-2.0",
        "licensed under the apache license, version 2.0",
        "you may not use this file except in compliance with the license",
    ),
    (
        "GPL-2.0-only",
        "gnu general public license version 2, june 1991",
        "you may copy and distribute verbatim copies",
    ),
    (
        "GPL-3.0-only",
        "gnu general public license version 3, 29 june 2007",
        "you may convey verbatim copies",
    ),
    (
        "LGPL-2.1-only",
        "gnu lesser general public license version 2.1, february 1999",
        "you may copy and distribute verbatim copies",
    ),
    (
        "LGPL-3.0-only",
        "gnu lesser general public license version 3, 29 june 2007",
        "you may convey a covered work",
    ),
    (
        "AGPL-3.0-only",
        "gnu affero general public license version 3, 19 november 2007",
        "you may convey verbatim copies",
    ),
    ("MPL-2.0", "mozilla public license version 2.0", "each contributor hereby grants you"),
    ("EPL-2.0", "eclipse public license - v 2.0", "each contributor hereby grants recipient"),
    (
        "BSL-1.0",
        "boost software license - version 1.0",
        "permission is hereby granted, free of charge, to any person or organization",
    ),
    (
        "Unlicense",
        "this is free and unencumbered software released into the public domain",
        "anyone is free to copy, modify, publish, use",
    ),
    ("CC0-1.0", "cc0 1.0 universal", "affirmer hereby overtly, fully, permanently"),
    ("CC-BY-NC-SA-4.0", "attribution-noncommercial-sharealike 4.0 international", _CREATIVE),
    ("CC-BY-NC-4.0", "attribution-noncommercial 4.0 international", _CREATIVE),
    ("CC-BY-SA-4.0", "attribution-sharealike 4.0 international", _CREATIVE),
    ("CC-BY-4.0", "attribution 4.0 international", _CREATIVE),
    ("PSF-2.0", "python software foundation license version 2", "psf hereby grants licensee"),
    (
        "Zlib",
        "altered source versions must be plainly marked as such",
        "permission is granted to anyone to use this software for any purpose",
    ),
)
"""Name, a sentence that only its text has, and the sentence by which it grants something."""
_MIT = "permission is hereby granted, free of charge, to any person obtaining a copy"
_BSD = (
    "redistribution and use in source and binary forms, with or without modification, are "
    "permitted provided that the following conditions are met"
)
_ISC = re.compile(r"permission to use, copy, modify, and/?(?:or)? distribute .{0,90}hereby granted")
_FURTHER = re.compile(
    r"commons clause|non-? ?commercial use only|all advertising materials|good, not evil"
    r"|business source licen[cs]e"
)
_CLOSED = re.compile(r"non-? ?commercial|proprietary")
"""Words of a further condition, unless the licence is one whose own text has them."""
_HAVE_THEM = ("GPL-", "LGPL-", "AGPL-", "CC-BY-NC-")


def recognised(text: str) -> str:
    """The SPDX expression of a licence's text, or "" for one that is not known."""
    plain = _plain(text.lower())
    found = {
        name
        for name, sentence, grant in _TEXTS
        if _plain(sentence) in plain and _plain(grant) in plain
    }
    if _MIT in plain and "without restriction" in plain:
        found.add("MIT" if "permission notice shall be included" in plain else "MIT-0")
    if _BSD in plain:
        endorsed = "endorse or promote products" in plain
        found.add("BSD-3-Clause" if endorsed else "BSD-2-Clause")
    if _ISC.search(plain) and "with or without fee" in plain:
        kept = "provided that the above copyright notice" in plain
        found.add("ISC" if kept else "0BSD")
    own = any(name.startswith(_HAVE_THEM) for name in found)
    if _FURTHER.search(plain) or (_CLOSED.search(plain) and not own):
        return ""
    return " AND ".join(sorted(found))


def declared_in(source: str) -> str | None:
    """The SPDX expression that the head of a file declares (its first 30 lines).

    All of several tags bind. "" where one of them is no expression of known names, which is not
    what the folder around the file is under; None where there is no tag.
    """
    tags = _TAG.findall("\n".join(source.splitlines()[:30]))
    told = list(dict.fromkeys(tag.strip(_COMMENT_ENDS) for tag in tags))
    if not told:
        return None
    if not all(map(names, told)):
        return ""
    return told[0] if len(told) == 1 else " AND ".join(f"({one})" for one in told)


def is_licence_file(name: str) -> bool:
    """Whether a file of this name (no folder) holds a licence."""
    return bool(_LICENCE_FILE.fullmatch(name)) and not name.lower().endswith((".py", ".js"))


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w.,/-]+", " ", text).split())
