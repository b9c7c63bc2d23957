"""Keys and personal data. The oracle: formats as their issuers and public scanners write them down.

Every key here is random and put together from pieces: no scanner takes this file for a leak.
"""

import ast
import json
import random
import string

import pytest

from jobs.data.filters import Filters, sift
from jobs.data.personal import personal_in
from jobs.data.redaction import redacted
from jobs.data.row import Refused, Row
from jobs.data.secrets import RULES, entropy, secrets_in

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
BASE32 = string.ascii_uppercase + "234567"
draw = random.Random(20240501)


def some(length, alphabet=ALNUM):
    return "".join(draw.choice(alphabet) for _ in range(length))


def pem(name):
    body = "\n".join(some(64, ALNUM + "+/") for _ in range(6))
    return f"-----BEGIN {name}-----\n{body}\n-----END {name}-----"


PLANTED = {
    "aws access key": ("AK" + "IA" + some(16, BASE32), "aws"),
    "aws session key": ("AS" + "IA" + some(16, BASE32), "aws"),
    "github classic": ("gh" + "p_" + some(36), "github"),
    "github server": ("gh" + "s_" + some(36), "github"),
    "github fine-grained": ("github" + "_pat_" + some(22) + "_" + some(59), "github"),
    "gitlab": ("gl" + "pat-" + some(20), "gitlab"),
    "slack bot": (
        "xo" + f"xb-{some(12, string.digits)}-{some(12, string.digits)}-{some(24)}",
        "slack",
    ),
    "slack user": (
        "xo" + f"xp-{some(12, string.digits)}-{some(12, string.digits)}-{some(32, HEX)}",
        "slack",
    ),
    "slack webhook": (
        "https://hooks.slack" + f".com/services/T{some(8)}/B{some(10)}/{some(24)}",
        "slack",
    ),
    "google": ("AI" + "za" + some(35, ALNUM + "-_"), "google"),
    "stripe live": ("sk" + "_live_" + some(24), "stripe"),
    "stripe restricted": ("rk" + "_test_" + some(99), "stripe"),
    "hugging face": ("h" + "f_" + some(34, string.ascii_letters), "huggingface"),
    "openai legacy": ("s" + "k-" + some(20) + "T3Blbk" + "FJ" + some(20), "openai"),
    "openai project": (
        "s" + "k-proj-" + some(74, ALNUM + "_-") + "T3Blbk" + "FJ" + some(74),
        "openai",
    ),
    "openai 48": ("s" + "k-" + some(48), "openai"),
    "anthropic": ("s" + "k-ant-api03-" + some(93, ALNUM + "_-") + "AA", "anthropic"),
    "npm": ("np" + "m_" + some(36), "npm"),
    "pypi": ("py" + "pi-AgEIcHlwaS5vcmc" + some(120, ALNUM + "_-"), "pypi"),
    "sendgrid": ("S" + "G." + some(22) + "." + some(43), "sendgrid"),
    "telegram": (some(10, "123456789") + ":A" + some(34, ALNUM + "_-"), "telegram"),
    "twilio": ("S" + "K" + some(32, HEX), "twilio"),
    "azure storage": ("Account" + "Key=" + some(86, ALNUM + "+/") + "==", "azure"),
    "jwt": ("ey" + "J" + some(33) + ".ey" + "J" + some(60) + "." + some(43, ALNUM + "-_"), "jwt"),
    "rsa key": (pem("RSA PRIVATE " + "KEY"), "private-key"),
    "openssh key": (pem("OPENSSH PRIVATE " + "KEY"), "private-key"),
    "pkcs8 key": (pem("PRIVATE " + "KEY"), "private-key"),
    "a key in a literal": (pem("EC PRIVATE " + "KEY").replace("\n", "\\n"), "private-key"),
    "a key cut off": (pem("RSA PRIVATE " + "KEY").split("\n-----END")[0], "private-key"),
    "pgp key": (pem("PGP PRIVATE " + "KEY BLOCK"), "private-key"),
}
AROUND = {
    "in quotes": "import os\n\nclient = connect(\n    '{}',\n)\n",
    "in a comment": "x = 1  # was {} before\n",
    "after an equals sign": "THING={}\nOTHER=1\n",
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("key, kind", PLANTED.values(), ids=PLANTED)
def test_a_planted_key_is_found_whole(key, kind, around):
    text = around.format(key)

    (find,) = secrets_in(text)

    assert find.kind == kind
    assert key.removeprefix("https://") == text[find.start : find.end]


def test_every_rule_is_planted_and_says_where_its_format_is_from():
    assert {rule.kind for rule in RULES} == {kind for _, kind in PLANTED.values()}
    assert [rule.kind for rule in RULES if len(rule.source) < 10] == []


NAMED = {
    "python": 'api_key = "{}"',
    "annotated": 'SECRET_KEY: str = "{}"',
    "dictionary": "settings = {{'auth_token': '{}'}}",
    "argument": "Client(password='{}')",
    "environment": "export DATABASE_PASSWORD={}",
    "setting": 'os.environ["CLIENT_SECRET"] = "{}"',
    "header": 'headers = {{"Authorization": "Bearer {}"}}',
    "address": "postgresql://admin:{}@db.internal/app",
}


@pytest.mark.parametrize("line", NAMED.values(), ids=NAMED)
@pytest.mark.parametrize("alphabet", [ALNUM, HEX], ids=["letters and digits", "hex"])
def test_a_random_value_that_is_called_a_secret_is_found(line, alphabet):
    values = [some(40, alphabet) for _ in range(50)]

    missed = [value for value in values if len(secrets_in(line.format(value))) != 1]

    assert len(missed) <= 1  # chance may draw a value without any digit


KEPT = {
    "the example key of AWS": "aws_access_key_id = 'AK" + "IAIOSFODNN7EXAMPLE'",
    "the example secret of AWS": "secret = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'",
    "a placeholder of crosses": "token = 'gh" + "p_" + "x" * 36 + "'",
    "a placeholder in words": "api_key = 'YOUR_API_KEY_GOES_HERE_123'",
    "a made-up password": "password = 'correct-horse-battery-staple'",
    "a key too short": "k = 'AK" + "IA" + some(15, BASE32) + "'",
    "a key too long": "k = 'AK" + "IA" + some(24, BASE32) + "'",
    "a name that begins like one": "hf_hub_download_with_retries_and_backoff(repo)",
    "a check for a private key": "if '-----BEGIN RSA PRIVATE "
    + "KEY-----' in text:\n    raise ValueError",
    "a check for both ends": "ok = pem.startswith('-----BEGIN PRIVATE "
    + "KEY-----') and pem[-40:] != "
    "other_pem[-40:] and pem.endswith('-----END PRIVATE " + "KEY-----')",
    "a public key": pem("PUBLIC KEY"),
    "a name in CamelCase": "token = 'GetUserProfileByNameFromCache'",
    "a name in CamelCase with a number": "key = 'UserProfile2023PageForAdmins'",
    "a sort key": "rows.sort(key=lambda row: (row.year, row.title))",
    "a name with numbers": "cache_key = 'user_2023_profile_page_v2_index_10'",
    "the alphabet": "token = 'abcdefghijklmnopqrstuvwxyz0123456789'",
    "a hash that is called one": "assert key_sha256 == '" + some(64, HEX) + "'",
    "a uuid": "key = '550e8400-e29b-41d4-a716-446655440000'",
    "a secret from the environment": "secret = os.environ['APPLICATION_SECRET_KEY_V2']",
    "a template": "token = '{config.tokens[0].value:16}'",
    "an address without a password": "postgresql://localhost:5432/app@main",
    "a commit": "revision = '" + some(40, HEX) + "'",
    "stripe's publishable key": "key('pk" + "_live_" + "')",
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_no_key_is_seen_in(text):
    assert secrets_in(text) == []


PERSONAL = {
    "mail": ("write to jane.doe+list@gmail.com.", "jane.doe+list@gmail.com"),
    "mail in brackets": ("# Jane Doe <jane@uni-bonn.de>", "jane@uni-bonn.de"),
    "mail of a company": ("author = 'j_doe@mail.company.co.uk'", "j_doe@mail.company.co.uk"),
    "v4": ("HOST = '93.184.216.34'", "93.184.216.34"),
    "v4 with port": ("connect to 81.2.69.142:8080", "81.2.69.142"),
    "v4 in a url": ("http://81.2.69.142/index", "81.2.69.142"),
    "v4 at the end of a sentence": ("It is 81.2.69.142.", "81.2.69.142"),
    "v6": ("ping 2a00:1450:4001:81b::200e now", "2a00:1450:4001:81b::200e"),
    "v6 in full": (
        "2606:2800:0220:0001:0248:1893:25c8:1946",
        "2606:2800:0220:0001:0248:1893:25c8:1946",
    ),
}


@pytest.mark.parametrize("text, value", PERSONAL.values(), ids=PERSONAL)
def test_an_address_of_somebody_is_found_whole(text, value):
    assert [text[find.start : find.end] for find in personal_in(text)] == [value]


NOBODYS = {
    "RFC 2606": "user@example.com, x@mail.example.org, y@host.test, z@localhost",
    "a git remote": "git clone git@github.com:psf/requests.git",
    "a matrix product": "scores = query@self.key.transpose(1, 2) + a@b.T + w@x.shape",
    "a decorator": "@app.route('/users')\ndef users(): ...",
    "a pinned package": "pip install name@git+https://host/x",
    "RFC 1918": "10.1.2.3 172.16.0.9 192.168.1.1",
    "loopback and any": "127.0.0.1 0.0.0.0 255.255.255.0 ::1",
    "RFC 5737": "192.0.2.7 198.51.100.7 203.0.113.7",
    "RFC 3849": "2001:db8:85a3::8a2e:370:7334",
    "a version in words": "requires version 11.4.152.3 or later",
    "a pinned version": "package==4.25.8.11",
    "a browser": "Mozilla/5.0 Chrome/91.0.4472.124 Safari/537.36",
    "a version of one digit each": "nose 1.3.7.2",
    "an object identifier": "ED25519 = ObjectIdentifier('1.3.101.112')",
    "a heading": "as in Section 13.7.1.42 of RFC 6120",
    "five numbers": "1.3.61.4.15",
    "a resolver": "nameserver 8.8.8.8",
    "a slice": "rows[2000::2], rows[1::20], rows[::-1]",
    "a time": "2023:10:05:12",
    "leading zeros": "216.08.094.196",
}


@pytest.mark.parametrize("text", NOBODYS.values(), ids=NOBODYS)
def test_no_address_is_seen_in(text):
    assert personal_in(text) == []


def row(response, **more):
    given = {"instruction": "Write the code.", "source": "s", "place": "f:1", "licence": "MIT"}
    return Row(**given | {"response": response} | more)


CODE = "def connect():\n    key = '{}'\n    return open_session(key, 'jane@gmail.com')\n"


def test_a_row_with_a_key_is_dropped_and_the_report_does_not_tell_the_key():
    key = PLANTED["github classic"][0]

    (result,) = sift([row(CODE.format(key))], Filters())

    assert isinstance(result, Refused)
    assert (result.step, result.reason) == ("filters", "secrets")
    assert result.found == "1 github"


def test_a_redacted_row_is_still_the_same_program():
    key = PLANTED["openai legacy"][0]

    (result,) = sift([row(CODE.format(key))], Filters(secrets="redact"))

    assert ast.unparse(ast.parse(result.response)) == ast.unparse(
        ast.parse(CODE.format("<KEY>").replace("jane@gmail.com", "user1@example.com"))
    )


def test_the_same_value_has_the_same_stand_in_in_all_of_a_row_and_others_have_others():
    given = row(
        "send('a@gmail.com', 'b@gmail.com', '81.2.69.142')",
        instruction="Mail b@gmail.com and a@gmail.com.",
        preamble="SENDER = 'b@gmail.com'",
    )

    changed = redacted(given, secrets=True, personal=True)

    assert changed.instruction == "Mail user1@example.com and user2@example.com."
    assert changed.response == "send('user2@example.com', 'user1@example.com', '192.0.2.1')"
    assert changed.preamble == "SENDER = 'user1@example.com'"


def test_what_is_put_in_place_is_not_found_again():
    texts = [value for _, value in PERSONAL.values()] + [key for key, _ in PLANTED.values()]

    once = redacted(row("\n".join(texts)), secrets=True, personal=True)

    assert redacted(once, secrets=True, personal=True) is once


def test_addresses_that_the_tests_of_a_row_use_are_data_of_its_task():
    tests = json.dumps([{"args": ["jane@gmail.com"], "expected": "gmail.com"}])
    given = row("def domain(mail):\n    return mail.split('@')[1]  # jane@gmail.com", tests=tests)

    assert sift([given], Filters(personal="drop")) == [given]


def test_a_row_is_kept_as_it_is_where_a_recipe_says_so():
    given = row(CODE.format(PLANTED["stripe live"][0]))

    (result,) = sift([given], Filters(secrets=False, personal="keep"))

    assert result is given


def test_a_dropped_address_is_told_by_its_kind_only():
    (result,) = sift([row("HOST = '81.2.69.142'  # jane@gmail.com")], Filters(personal="drop"))

    assert (result.reason, result.found) == ("personal", "1 e-mail, 1 ipv4")


@pytest.mark.parametrize("text, bits", [("", 0), ("aaaa", 0), ("abab", 1), (HEX, 4)])
def test_entropy_is_shannons(text, bits):
    assert entropy(text) == pytest.approx(bits)
