"""Why two scores do not compare: what is said of two contracts."""

import pytest

from database.comparability import Contents, unjudged, what_differs

ASKED = {"prompt": "alpaca", "stop": ["\n\n"], "temperature": 0.0, "sha256": "a" * 64}
JUDGED = {
    "extract": "none",
    "limits": {"cpu_seconds": 2},
    "interpreter": "3.11",
    "sha256": "a" * 64,
}
OURS = Contents(asking=ASKED, judging=JUDGED)


def theirs(asked=(), judged=()):
    return Contents(asking=ASKED | dict(asked), judging=JUDGED | dict(judged))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (theirs(), []),
        (theirs({"prompt": "chat"}), ["asked with another prompt form: alpaca / chat"]),
        (theirs({"prompt": {"name": "chat", "version": 2, "text": "x" * 99}}),
         ["asked with another prompt form: alpaca / chat version 2"]),
        (theirs({"stop": []}), ["asked with other stop strings"]),
        (theirs({"since": "2024-01-01"}),
         ["asked with problems from another day on: none / 2024-01-01"]),
        (theirs(judged={"limits": {"cpu_seconds": 9}}), ["judged with other limits"]),
        (theirs(judged={"interpreter": "3.12"}), ["judged with another Python: 3.11 / 3.12"]),
        (theirs({"brand_new": 1}), ["asked with another brand new: none / 1"]),
        (theirs({"temperature": 0.8}, {"extract": "fenced"}),
         ["asked with another temperature: 0.0 / 0.8",
          "judged with another extraction: none / fenced"]),
    ],
)  # fmt: skip
def test_each_difference_of_two_contracts_is_said_in_words(other, said):
    assert what_differs(OURS, other) == said


def test_one_contract_in_two_wordings_is_said_to_be():
    mine, other = (
        Contents(asking={"prompt": {"name": "chat", "version": 1, "text": text}}, judging={})
        for text in ("Do {question}", "Please do {question}")
    )

    assert what_differs(mine, other) == [
        "asked with another prompt form: chat version 1, in other words"
    ]


def test_what_both_parts_name_is_said_once():
    other = theirs({"sha256": "b" * 64}, {"sha256": "b" * 64})

    assert what_differs(OURS, other) == ["asked with another file of the benchmark"]


def test_a_long_value_is_cut():
    (said,) = what_differs(OURS, theirs({"prompt": "x" * 500}))

    assert len(said) < 100


@pytest.mark.parametrize(
    ("ours", "base", "said"),
    [
        ((164, 164), (164, 164), ""),
        ((163, 164), (164, 164), "163 of 164 problems of this run judged"),
        ((163, 164), (160, 164),
         "163 of 164 problems of this run judged and 160 of 164 problems of its base judged"),
    ],
)  # fmt: skip
def test_problems_without_a_verdict_are_counted(ours, base, said):
    assert unjudged(ours, base) == said
