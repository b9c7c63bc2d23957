"""What licences ask for. The oracle: their published texts and deeds, and SPDX's own list."""

import itertools

import license_expression
import pytest

from jobs.data.report import SourceCount
from jobs.data.terms import (
    Term,
    attribution_lines,
    check,
    needs_attribution,
    permits,
    strictest,
    term,
)
from jobs.declared import UserError

SPDX = license_expression.get_spdx_licensing()
LISTED = [
    entry["spdx_license_key"]
    for entry in license_expression.get_license_index()
    if entry["spdx_license_key"] and not entry["is_exception"]
]

PUBLISHED = {
    "CC0-1.0": Term.NOTHING,  # section 2: the affirmer waives all rights
    "Unlicense": Term.NOTHING,  # "released into the public domain"
    "0BSD": Term.NOTHING,  # no condition in it
    "MIT": Term.NOTICE,  # "shall be included in all copies or substantial portions"
    "BSD-3-Clause": Term.NOTICE,  # clause 1
    "Apache-2.0": Term.NOTICE,  # section 4
    "CC-BY-4.0": Term.ATTRIBUTION,  # section 3(a)
    "CC-BY-3.0": Term.ATTRIBUTION,  # section 4(b)
    "ODC-By-1.0": Term.ATTRIBUTION,  # section 4.2
    "LGPL-2.1-only": Term.WEAK_COPYLEFT,  # sections 2 and 6
    "MPL-2.0": Term.WEAK_COPYLEFT,  # section 3.1
    "GPL-3.0-or-later": Term.STRONG_COPYLEFT,  # section 5(c)
    "AGPL-3.0-only": Term.STRONG_COPYLEFT,  # section 5(c)
    "CC-BY-SA-4.0": Term.STRONG_COPYLEFT,  # section 3(b)
    "ODbL-1.0": Term.STRONG_COPYLEFT,  # section 4.4
    "BUSL-1.1": Term.RESTRICTED,  # "non-production use"
    "LicenseRef-scancode-llama-2-license-2023": Term.RESTRICTED,  # section 2, 700 million users
    "CC-BY-NC-4.0": Term.NON_COMMERCIAL,  # section 2(a)(1): "for NonCommercial purposes only"
    "CC-BY-NC-SA-4.0": Term.NON_COMMERCIAL,
    "PolyForm-Noncommercial-1.0.0": Term.NON_COMMERCIAL,
    "CC-BY-ND-4.0": Term.NO_DERIVATIVES,  # "produce and reproduce, but not Share, Adapted Material"
    "CC-BY-NC-ND-4.0": Term.NO_DERIVATIVES,
    "LicenseRef-LeetCode": Term.NO_LICENCE,
    "Aladdin": Term.NON_COMMERCIAL,  # section 2: no distribution for payment by companies
    "MS-LPL": Term.RESTRICTED,  # section 3(F): only what runs "on a Microsoft Windows"
    "DL-DE-BY-2.0": Term.ATTRIBUTION,  # section 2, the name of the provider
    "OGL-UK-3.0": Term.ATTRIBUTION,  # "acknowledge the source of the Information"
    "etalab-2.0": Term.ATTRIBUTION,  # "mentionner la paternite de l'Information"
    "LicenseRef-scancode-cc-by-nc-sa-3.0-us": Term.NON_COMMERCIAL,  # section 4(c)
}


@pytest.mark.parametrize("name, asked", PUBLISHED.items(), ids=PUBLISHED)
def test_a_licence_asks_for_what_its_text_says(name, asked):
    assert term(name) is asked


@pytest.mark.parametrize(
    "mark, least", [("-NC", Term.NON_COMMERCIAL), ("-ND", Term.NO_DERIVATIVES)]
)
def test_no_creative_commons_licence_with_a_prohibition_is_taken_for_a_milder_one(mark, least):
    found = [name for name in LISTED if name.startswith("CC-BY") and f"{mark}-" in name]

    assert len(found) >= 8
    assert [name for name in found if term(name) < least] == []


def test_every_licence_of_the_spdx_list_has_a_term():
    assert len(LISTED) > 600
    assert {term(name) for name in LISTED} == set(Term)


def test_both_bind_where_both_apply_and_the_milder_where_one_may_choose():
    pairs = list(itertools.combinations(PUBLISHED, 2))

    both = [term(f"{first} AND {second}") for first, second in pairs]
    either = [term(f"{first} OR {second}") for first, second in pairs]

    assert both == [max(PUBLISHED[first], PUBLISHED[second]) for first, second in pairs]
    assert either == [min(PUBLISHED[first], PUBLISHED[second]) for first, second in pairs]


def test_brackets_and_exceptions_are_read_as_spdx_defines_them():
    assert term("(MIT OR GPL-3.0-only) AND CC-BY-4.0") is Term.ATTRIBUTION
    assert term("MIT OR GPL-3.0-only AND CC-BY-NC-4.0") is Term.NOTICE
    assert term("GPL-2.0-only WITH Classpath-exception-2.0") is Term.STRONG_COPYLEFT
    assert term("Apache-2.0 WITH LLVM-exception") is Term.NOTICE


def test_an_exception_that_forbids_is_no_permission():
    sold = "Apache-2.0 WITH LicenseRef-scancode-commons-clause"  # "does not include ... to Sell"

    assert term(sold) is Term.RESTRICTED
    assert not permits(sold, {"apache-2.0"})
    assert permits("Apache-2.0 WITH LLVM-exception", {"apache-2.0"})


def test_the_strictest_of_a_mixture_does_not_depend_on_the_order_of_its_sources():
    names = ["MIT", "CC-BY-4.0", "CC-BY-NC-4.0", "GPL-3.0-only"]

    assert {strictest(order) for order in itertools.permutations(names)} == {"CC-BY-NC-4.0"}


def test_licences_of_the_same_strictness_all_stay():
    joined = strictest(["GPL-3.0-only", "MIT", "CC-BY-SA-4.0", "gpl-3.0-only", "MIT OR Apache-2.0"])

    assert joined == "CC-BY-SA-4.0 AND GPL-3.0-only"
    assert SPDX.is_equivalent(joined, "GPL-3.0-only AND CC-BY-SA-4.0")


def test_an_alternative_keeps_its_brackets_beside_another_licence():
    joined = strictest(["MIT OR Apache-2.0", "BSD-2-Clause"])

    assert SPDX.is_equivalent(joined, "(MIT OR Apache-2.0) AND BSD-2-Clause")


def test_a_mixture_of_nothing_has_no_licence():
    assert strictest([]) == ""


@pytest.mark.parametrize(
    "expression", ["MIT", "apache-2.0 or mit", "GPL-2.0", "LicenseRef-My-Terms", "(MIT)"]
)
def test_an_expression_of_listed_or_own_names_is_accepted(expression):
    assert check(expression) is None


MISTAKES = {
    "Apache 2.0": "'Apache-2.0'",
    "CC-BY-NC": "'CC-BY-NC-4.0'",
    "GPLv3": "'GPL-3.0-only'",
    "NOASSERTION": "'LicenseRef-unknown'",
    "MIT AND": "is no SPDX expression",
    "MIT AND (CC0-1.0": "is no SPDX expression",
    "MIT/Apache-2.0": "is no SPDX expression",
    "the boss allows it": "https://spdx.org/licenses/",
    "": "a licence is missing",
}


@pytest.mark.parametrize("expression, told", MISTAKES.items(), ids=[*MISTAKES])
def test_a_licence_that_is_none_is_refused_with_the_nearest(expression, told):
    with pytest.raises(UserError, match=r"licence") as caught:
        check(expression)

    assert told in str(caught.value)


def test_all_but_the_public_domain_must_be_attributed():
    assert [name for name in PUBLISHED if not needs_attribution(name)] == [
        "CC0-1.0",
        "Unlicense",
        "0BSD",
    ]


def count(source, licence, rows_out=1, attribution=""):
    return SourceCount(
        source=source,
        licence=licence,
        attribution=attribution,
        terms="",
        rows_in=5,
        rows_out=rows_out,
        rows_written=rows_out,
    )


def test_the_lines_say_all_that_creative_commons_asks_for():
    (line,) = attribution_lines([count("mbpp", "CC-BY-4.0", attribution="Austin et al. 2021")])

    assert line.startswith("mbpp: Austin et al. 2021")  # 3(a)(1)(A)(i), the creator
    assert "CC-BY-4.0 (https://spdx.org/licenses/CC-BY-4.0)" in line  # (C), the licence
    assert line.endswith("rows were selected and reworked")  # (B), that it was modified


def test_there_is_a_line_for_each_source_in_the_mixture_that_needs_one_in_order():
    counts = [
        count("own", "CC0-1.0"),
        count("b", "MIT OR Apache-2.0"),
        count("unused", "MIT", rows_out=0),
        count("a", "LicenseRef-LeetCode"),
    ]

    assert [line.split(":")[0] for line in attribution_lines(counts)] == ["b", "a"]
    assert "spdx.org" not in attribution_lines(counts)[1]
