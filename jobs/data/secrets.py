"""Keys and tokens in text: the published formats of known issuers, and random values given a name.

The formats are those that public scanners agree on; each rule names where its format is written
down. Not promised: a password that a person made up (`hunter2`) looks like any other word.

Why no library: detect-secrets 1.5.0, which StarCoder's data went through, was last released in May
2024 and knows no key of Google, Hugging Face, Anthropic nor GitHub's fine-grained tokens; its
maintained fork bc-detect-secrets 1.5.52 knows fewer.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import log2


@dataclass(frozen=True, slots=True)
class Find:
    """A stretch of a text that should not be in it."""

    kind: str
    """What it is: `github`, `assigned`, `e-mail` ..."""
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Rule:
    """The format of one issuer's keys."""

    kind: str
    markers: tuple[str, ...]
    """One of these is in every text that has such a key: a cheap look before the pattern."""
    pattern: re.Pattern[str]
    """Group 1 is the random part."""
    source: str
    """Where the format is written down; `gitleaks NAME`: a rule of its config/gitleaks.toml."""


def _rule(kind: str, markers: str, pattern: str, source: str) -> Rule:
    return Rule(kind, tuple(markers.split()), re.compile(pattern), source)


RULES = (
    _rule(
        "private-key",
        "-----BEGIN",
        r"-----BEGIN[ A-Z0-9_-]{0,100}PRIVATE KEY(?: BLOCK)?-----"
        r"""([\w+/=\s\\"',:.()-]{64,10000}?-----END[ A-Z0-9_-]{0,100}PRIVATE KEY(?: BLOCK)?-----"""
        r"""|(?:\s|\\n)*[A-Za-z0-9+/=]{40,}(?:(?:\s|\\n|["'])+[A-Za-z0-9+/=]{20,})*)""",
        "RFC 7468; gitleaks private-key",
    ),
    _rule(
        "aws",
        "AKIA ASIA ABIA ACCA",
        r"\b(?:AKIA|ASIA|ABIA|ACCA)([A-Z0-9]{16})\b",
        "AWS IAM user guide, unique identifiers; detect-secrets plugins/aws.py",
    ),
    _rule(
        "github",
        "ghp_ gho_ ghu_ ghs_ ghr_",
        r"\bgh[pousr]_([0-9A-Za-z]{36,255})\b",
        "GitHub blog 2021-04-05, new authentication token formats; gitleaks github-pat",
    ),
    _rule("github", "github_pat_", r"\bgithub_pat_(\w{82})\b", "gitleaks github-fine-grained-pat"),
    _rule("gitlab", "glpat-", r"\bglpat-([\w-]{20,})", "gitleaks gitlab-pat"),
    _rule(
        "slack",
        "xox",
        r"\bxox[abeoprs]-((?:\d+-)+[0-9A-Za-z-]{8,})",
        "detect-secrets plugins/slack.py; gitleaks slack-bot-token",
    ),
    _rule(
        "slack",
        "hooks.slack.com",
        r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9+/]{43,56})",
        "gitleaks slack-webhook-url",
    ),
    _rule("google", "AIza", r"\bAIza([\w-]{35})(?![\w-])", "gitleaks gcp-api-key"),
    _rule(
        "stripe",
        "sk_ rk_",
        r"\b[rs]k_(?:live|test|prod)_([0-9A-Za-z]{10,99})\b",
        "gitleaks stripe-access-token",
    ),
    _rule(
        "huggingface",
        "hf_",
        r"\bhf_([0-9A-Za-z]{34,})\b",
        "gitleaks huggingface-access-token, which allows letters only",
    ),
    _rule(
        "anthropic",
        "sk-ant-",
        r"\bsk-ant-[a-z]+\d\d-([\w-]{80,})",
        "gitleaks anthropic-api-key",
    ),
    _rule(
        "openai",
        "sk-",
        r"\bsk-(?:(?:proj|svcacct|admin)-)?([\w-]*T3BlbkFJ[\w-]{20,}|[0-9A-Za-z]{32,})(?![\w-])",
        "gitleaks openai-api-key; detect-secrets plugins/openai.py",
    ),
    _rule("npm", "npm_", r"\bnpm_([0-9A-Za-z]{36})\b", "gitleaks npm-access-token"),
    _rule("pypi", "pypi-AgEI", r"\bpypi-AgEI([\w-]{50,})", "gitleaks pypi-upload-token"),
    _rule(
        "sendgrid",
        "SG.",
        r"\bSG\.([\w-]{22}\.[\w-]{43})(?![\w-])",
        "detect-secrets plugins/sendgrid.py",
    ),
    _rule(
        "telegram",
        ":A",
        r"(?<!\d)\d{8,10}:(A[\w-]{34})(?![\w-])",
        "gitleaks telegram-bot-api-token",
    ),
    _rule("twilio", "SK", r"\bSK([0-9a-f]{32})\b", "gitleaks twilio-api-key"),
    _rule(
        "azure",
        "AccountKey=",
        r"AccountKey=([A-Za-z0-9+/]{86}==)",
        "detect-secrets plugins/azure_storage_key.py",
    ),
    _rule(
        "jwt",
        "eyJ",
        r"\b(eyJ[\w-]{14,}\.eyJ[\w-]{14,}\.[\w-]{10,})",
        "RFC 7519; gitleaks jwt",
    ),
)

_NAMES = ("key", "token", "secret", "passw", "pwd", "credential", "bearer")
_ASSIGNED = re.compile(
    r"""(?:key|token|secret|passw(?:or)?d|passphrase|pwd|credential)s?\w{0,20}["'\]]{0,2}
        \s{0,3}(?::\s{0,2}\w{1,20}\s{0,2})?(?:=>|:=|=|:|,)\s{0,3}[bru]{0,2}
        (["'])(?P<value>[^"'\s]{16,200})\1""",
    re.I | re.X,
)
_ENVIRONMENT = re.compile(
    r"^[ \t]*(?:export[ ]+)?[A-Z0-9_]*(?:KEY|TOKEN|SECRET|PASSWORD|PWD)[A-Z0-9_]*="
    r"(?P<value>[^\s\"'#(]{16,200})[ \t]*$",
    re.M,
)
_BEARER = re.compile(r"\b[Bb]earer\s{1,2}(?P<value>[\w.+/=~-]{20,400})")
_IN_URL = re.compile(r"://[^/\s:@\"']{1,64}:(?P<value>[^/\s:@\"']{8,100})@[\w.-]+")

_PLACEHOLDER = re.compile(
    r"example|sample|placeholder|change|insert|replace|your|dummy|fake|redacted|secret|password"
    r"|x{4}|0{6}|\*\*\*|\.\.\.|abcdef|qwerty|012345|123456",
    re.I,
)
_RUN = re.compile(r"[A-Za-z0-9+/=]{16,}")
_LETTER_BESIDE_DIGIT = re.compile(r"(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")
_SAME_KIND = re.compile(r"[a-z]+|[A-Z]+|[0-9]+|[+/=]+")
_HASH = re.compile(r"sha|md5|hash|digest|checksum|commit|revision|etag|fingerprint", re.I)


def secrets_in(text: str) -> list[Find]:
    """The keys and tokens in a text, in their order, none overlapping another."""
    finds = sorted([*_known(text), *_named(text)], key=lambda find: (find.start, -find.end))
    kept: list[Find] = []
    for find in finds:
        if not kept or find.start >= kept[-1].end:
            kept.append(find)
    return kept


def _known(text: str) -> Iterator[Find]:
    """Keys in the format of a known issuer that are no placeholder.

    A random part under 3 bits a character (gitleaks' bound for most of these) is one: `xxxx...`.
    """
    for rule in RULES:
        if any(marker in text for marker in rule.markers):
            for match in rule.pattern.finditer(text):
                start = match[1][:64]  # the word "fake" is in every 1,000th PEM file by chance
                if not _PLACEHOLDER.search(start) and entropy(match[1]) >= 3:
                    yield Find(rule.kind, *match.span())


def _named(text: str) -> Iterator[Find]:
    """Random values that code calls a key, token, secret or password, or sends as one.

    After gitleaks' generic-api-key: a telling name, an assignment, a value of high entropy.
    """
    lowered = text.lower()
    if any(name in lowered for name in _NAMES):
        for pattern in (_ASSIGNED, _ENVIRONMENT, _BEARER):
            yield from _random_values(pattern, text)
    if "://" in text and "@" in text:
        yield from _random_values(_IN_URL, text)


def _random_values(pattern: re.Pattern[str], text: str) -> Iterator[Find]:
    for match in pattern.finditer(text):
        value = match["value"]
        if looks_random(value) and not _names_a_hash(text, match.start(), value):
            yield Find("assigned", *match.span("value"))


def looks_random(value: str) -> bool:
    """Whether a machine made a value: 16 characters or more in which kinds alternate as by chance.

    Of hex digits: three changes between letter and digit, and Shannon entropy of 3 bits a character
    (detect-secrets plugins/high_entropy_strings.py; they have at most 4). Else: small letters,
    capitals and digits change after 3 characters or sooner (by chance after 1.6), 2.5 with one
    number only, 2 with none (CamelCase has 3), and 3.5 bits (gitleaks generic-api-key).
    """
    run = max(_RUN.findall(value), key=len, default="")
    if not run or _PLACEHOLDER.search(value):
        return False
    if not run.lower().strip("0123456789abcdef"):
        return len(_LETTER_BESIDE_DIGIT.findall(run)) >= 3 and entropy(run) >= 3
    changes = len(_LETTER_BESIDE_DIGIT.findall(run))
    most = 3 if changes >= 3 else 2.5 if changes else 2
    return len(run) / len(_SAME_KIND.findall(run)) <= most and entropy(run) >= 3.5


def _names_a_hash(text: str, start: int, value: str) -> bool:
    """Whether a value is a hash and called one in its line.

    After `is_hash` in bigcode-dataset pii/utils/keys_detection.py.
    """
    if len(value) not in (32, 40, 64) or value.lower().strip("0123456789abcdef"):
        return False
    line = text.rfind("\n", 0, start) + 1
    return bool(_HASH.search(text, line, start + 40))


def entropy(text: str) -> float:
    """Shannon's entropy of the characters of a text, in bits a character; 0 for an empty text."""
    counts = Counter(text).values()
    return -sum(n / len(text) * log2(n / len(text)) for n in counts)
