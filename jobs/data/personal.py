"""Personal data in text: e-mail and internet addresses of somebody in particular.

Not promised: names, telephone numbers and postal addresses are not looked for.
"""

import ipaddress
import re
from collections.abc import Iterator

from jobs.data.secrets import Find

_MAIL = re.compile(
    r"(?<![\w.%+-])[A-Za-z0-9_][\w.%+-]{0,63}@((?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24})(?![\w(\[@])"
)
_V4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\w)")
_V6 = re.compile(r"(?<![\w:.])[23][0-9a-fA-F]{3}(?::[0-9a-fA-F]{0,4}){3,7}(?![\w:])")

_DOTTED = re.compile(r"[0-9]\.[0-9]+\.[0-9]+\.[0-9]")
_HEXTETS = re.compile(r"[23][0-9a-fA-F]{3}:[0-9a-fA-F]{0,4}:")
"""What every address has in it: found many times faster than the address, which looks behind."""

_NUMBER = re.compile(
    r"(?:versions?|release|firmware|build|\bv(?:er)?|oid|objectidentifier|section|chapter)\W{0,4}$"
    r"|[=<>~!]=\s?$|\w/$"
)
"""What stands before four numbers that are a version, an ISO object identifier or a heading."""
_SINGLE_DIGITS = re.compile(r"\d\.\d\.\d\.\d")
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
"""All of IPv6 that IANA gives to anybody (RFC 4291 section 2.4)."""

_RESERVED = re.compile(r"(?:^|\.)(?:example\.\w+|example|test|invalid|localhost|local)$", re.I)
"""Domains that are nobody's: RFC 2606, RFC 6761, RFC 6762."""
_GENERIC_DOMAINS = """com org net edu gov mil int info biz name pro museum coop aero jobs mobi tel
    travel cat asia post dev app cloud tech online site store shop blog xyz email live academy
    agency digital software systems solutions services network world center institute university
    science"""
_TOPS = frozenset(_GENERIC_DOMAINS.split())
"""Of IANA's root zone those in wide use; all of two letters are countries. Without the check the
product of two matrices, `query@self.key.transpose`, would be an address."""
_NO_PERSON = re.compile(r"^(?:git|svn|hg|root|no-?reply|do-?not-?reply)@", re.I)
_RESOLVERS = """8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 9.9.9.9 149.112.112.112
    208.67.222.222 208.67.220.220"""
_PUBLIC_SERVERS = frozenset(_RESOLVERS.split())
"""Everybody's, as POPULAR_DNS_SERVERS in bigcode-dataset pii/ner/pii_redaction/utils.py."""


def personal_in(text: str) -> list[Find]:
    """The e-mail and IP addresses in a text that may be somebody's, in their order."""
    return sorted([*_mails(text), *_addresses(text)], key=lambda find: find.start)


def _mails(text: str) -> Iterator[Find]:
    if "@" not in text:
        return
    for match in _MAIL.finditer(text):
        domain = match[1]
        top = domain.rpartition(".")[2].lower()
        known = len(top) == 2 or top in _TOPS
        if known and not _RESERVED.search(domain) and not _NO_PERSON.match(match[0]):
            yield Find("e-mail", *match.span())


def _addresses(text: str) -> Iterator[Find]:
    for match in _V4.finditer(text) if _DOTTED.search(text) else ():
        if _is_somebodys(match[0]) and not _is_number(text, match.start(), match[0]):
            yield Find("ipv4", *match.span())
    for match in _V6.finditer(text) if _HEXTETS.search(text) else ():
        if _is_somebodys(match[0]):
            yield Find("ipv6", *match.span())


def _is_somebodys(address: str) -> bool:
    """Whether an address can be one machine's on the internet.

    Private networks (RFC 1918), loopback, those for documentation (RFC 5737, RFC 3849) and all
    others that are not global by IANA's registries are nobody's.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if parsed.version == 6 and parsed not in _GLOBAL_V6:
        return False
    return parsed.is_global and not parsed.is_multicast and address not in _PUBLIC_SERVERS


def _is_number(text: str, start: int, address: str) -> bool:
    """Whether four numbers are no address: told just before, or all of one digit.

    The latter after `filter_versions` in bigcode-dataset
    pii/utils/emails_ip_addresses_detection.py, which takes words nearby for the contrary.
    """
    before = text[max(0, start - 24) : start].lower()
    if _NUMBER.search(before):
        return True
    around = text[max(0, start - 100) : start + 100].lower()
    return bool(_SINGLE_DIGITS.fullmatch(address)) and not ("dns" in around or "server" in around)
