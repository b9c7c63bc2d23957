"""What published formats become, one format after the other."""

import importlib.metadata
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.data.draft import UnfitError
from jobs.data.formats import FORMS, WHOLE_FILES
from jobs.data.functions import Function, functions
from jobs.data.licences import declared_in, recognised
from jobs.data.origin import FieldMap, Source
from jobs.data.terms import names, permits


def made(values, **options):
    """The drafts of one record, and the reasons for what became none."""
    source = Source(file="a.jsonl", licence="MIT", **options)
    drafts, reasons = [], []
    try:
        for draft in FORMS[source.format].drafts(values, source):
            if isinstance(draft, UnfitError):
                reasons.append(draft.reason)
            else:
                drafts.append(draft)
    except UnfitError as unfit:
        reasons.append(unfit.reason)
    return drafts, reasons


# Columns by name.


def test_columns_may_be_inside_of_others_and_have_dots_in_their_names():
    record = {"meta": {"query": "Ask."}, "a.b": "Answer.", "extra": {"given": "Input."}}
    mapping = FieldMap(instruction="meta.query", response="a.b", input="extra.given")

    ((draft,), _) = made(record, fields=mapping)

    assert (draft.instruction, draft.input, draft.response) == ("Ask.", "Input.", "Answer.")


def test_an_input_that_is_not_there_is_empty():
    mapping = FieldMap(instruction="q", response="a", input="i")

    for record in ({"q": "Q", "a": "A"}, {"q": "Q", "a": "A", "i": None}):
        ((draft,), _) = made(record, fields=mapping)
        assert draft.input == ""


def test_tests_may_be_a_list_or_its_json_text():
    tests = [{"args": [1], "kwargs": {}, "expected": 2}, "assert f(2) == 3"]
    mapping = FieldMap(instruction="q", response="a", tests="t", entry_point="name")

    for told in (tests, json.dumps(tests)):
        record = {"q": "Q", "a": "A", "t": told, "name": "f"}
        ((draft,), _) = made(record, fields=mapping)
        assert (draft.tests, draft.entry_point) == (tests, "f")


def test_a_row_may_have_no_tests():
    mapping = FieldMap(instruction="q", response="a", tests="t")

    for record in ({"q": "Q", "a": "A"}, {"q": "Q", "a": "A", "t": None}):
        ((draft,), _) = made(record, fields=mapping)
        assert draft.tests == []


def test_tests_that_are_no_list_refuse_the_row():
    mapping = FieldMap(instruction="q", response="a", tests="t")

    for told in ("[1", "{}", [3], {"a": 1}):
        assert made({"q": "Q", "a": "A", "t": told}, fields=mapping) == ([], ["tests"])


def test_without_a_column_of_questions_rows_are_plain():
    ((draft,), _) = made({"code": "x = 1"}, fields=FieldMap(response="code"))

    assert (draft.instruction, draft.response, draft.asked) == ("", "x = 1", False)


TURNS = {
    "role and content": ("role", "content", "system", "user", "assistant"),
    "from and value": ("from", "value", "system", "human", "gpt"),
}


@pytest.mark.parametrize("role, said, system, user, assistant", TURNS.values(), ids=TURNS)
def test_of_a_chat_the_first_question_and_its_answer_are_taken(role, said, system, user, assistant):
    turns = [
        (system, "Be kind."),
        (user, "Ask."),
        (assistant, "Answer."),
        (user, "More."),
        (assistant, "Again."),
    ]
    record = {"conversations": [{role: who, said: text} for who, text in turns]}

    ((draft,), _) = made(record, fields=FieldMap(messages="conversations"))

    assert (draft.instruction, draft.response) == ("Ask.", "Answer.")


def test_a_chat_without_an_answer_is_refused():
    turns = [{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Ask."}]

    assert made({"m": turns}, fields=FieldMap(messages="m")) == ([], ["no_exchange"])


# Benchmarks' own forms.


def test_mbpp_is_asked_with_its_visible_tests(published):
    path = published / "bench" / "mbpp.jsonl"
    source = Source(file="mbpp.jsonl", licence="CC-BY-4.0", format="mbpp", split="train")
    problems = [json.loads(line) for line in path.read_text().splitlines()]

    found = dict(WHOLE_FILES["mbpp"](path, source))

    assert sorted(found) == [n for n, p in enumerate(problems, 1) if 601 <= p["task_id"] <= 974]
    for number, draft in found.items():
        problem = problems[number - 1]
        assert draft.instruction == (
            f"{problem['text']}\nYour code should pass these tests:\n"
            + "\n".join(problem["test_list"])
        )
        assert draft.response == "\n".join(problem["code"].splitlines()).strip("\n") + "\n"
        assert all(
            test.endswith(told)
            for test, told in zip(draft.tests, problem["test_list"], strict=True)
        )


def test_a_file_of_problems_with_tests_is_read_as_the_judge_reads_it(tmp_path):
    tests = [{"args": [1], "kwargs": {}, "expected": 2}]
    dialogue = [{"stdin": "1\n", "stdout": "2\n"}]
    problems = [
        {
            "task_id": "a",
            "instruction": "Add one.",
            "entry_point": "f",
            "tests": tests,
            "reference": "def f(x):\n    return x + 1\n",
        },
        {"task_id": "b", "instruction": "Print one more.", "tests": dialogue},
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    source = Source(file="own.jsonl", licence="MIT", format="custom")

    (one, first), (two, second) = WHOLE_FILES["custom"](path, source)

    assert (one, first.response, first.tests, first.entry_point) == (
        1,
        problems[0]["reference"],
        tests,
        "f",
    )
    assert (two, second.response, second.tests) == (2, "", dialogue)


# Contests.


def contest(**changes):
    return {
        "description": "Double.",
        "public_tests": {"input": ["1\n"], "output": ["2\n"]},
        "private_tests": {"input": [], "output": []},
        "generated_tests": {"input": ["2\n"] * 9, "output": ["4\n"] * 9},
        "solutions": {
            "language": [3, 3, 3, 1],
            "solution": [
                "print(2 * int(input()))",
                "print(2 * int(input()))\n",
                "n = int(input())\nprint(n + n)",
                "print 1",
            ],
        },
        "cf_rating": 1200,
        "input_file": "",
        "output_file": "",
        **changes,
    }


def test_distinct_python_3_solutions_are_taken_up_to_the_limit():
    drafts, _ = made(contest(), format="code-contests", solutions=5)

    assert [(draft.response, draft.within) for draft in drafts] == [
        ("print(2 * int(input()))\n", "1"),
        ("n = int(input())\nprint(n + n)\n", "2"),
    ]


def test_tests_of_a_contest_are_taken_up_to_the_limit():
    ((draft,), _) = made(contest(), format="code-contests", tests=3)

    assert [test["stdin"] for test in draft.tests] == ["1\n", "2\n", "2\n"]


def test_tests_that_would_fill_a_row_are_passed_over():
    long = {"input": ["x" * 5_000, "7\n"], "output": ["y", "14\n"]}

    ((draft,), _) = made(
        contest(private_tests=long), format="code-contests", tests=3, largest=9_000
    )

    assert [test["stdin"] for test in draft.tests] == ["1\n", "7\n", "2\n"]


LEFT_OUT = {
    "below the rating": (contest(cf_rating=700), "rating"),
    "above the rating": (contest(cf_rating=1900), "rating"),
    "unrated": (contest(cf_rating=0), "rating"),
    "in other languages": (
        contest(solutions={"language": [2], "solution": ["int x;"]}),
        "no_python",
    ),
    "about files": (contest(input_file="in.txt"), "files"),
}


@pytest.mark.parametrize("record, reason", LEFT_OUT.values(), ids=LEFT_OUT)
def test_a_contest_problem_is_left_out_that_is(record, reason):
    assert made(record, format="code-contests", rating=(800, 1800)) == ([], [reason])


# Functions out of files.

MODULE = '''"""What the module does."""
from __future__ import annotations

import os.path
import numpy as np
from typing import List, Optional as Maybe
from .shapes import Circle
from package.inner import secret

LIMIT = 3


@np.vectorize
def curved(x: float, *, power: int = 2) -> float:
    """Raise to a power.

    Args:
        x: the base.
    """
    # the power is whole
    return x ** power


def joined(parts: List[str]) -> Maybe[str]:
    "Join parts to a path."
    return os.path.join(*parts) if parts else None


def recursive(n):
    """Sum of the numbers up to n."""
    def inner(k):
        return k
    total = [inner(k) for k in range(n)]
    return sum(total) and recursive(n - 1)


def limited(x):
    """Lean on a constant of the module."""
    return min(x, LIMIT)


def foreign(x):
    """Lean on the package."""
    return secret(Circle(x))


def silent(x):
    return x


def test_joined():
    """A test."""
    assert joined([]) is None


def nothing():
    """Only words."""


def one_line(x): """Say it."""; return x


class Shape:
    def area(self):
        """A method."""
        return 1


async def later():
    """Not now."""
    return 1
'''


@pytest.fixture(scope="module")
def found():
    return list(functions(MODULE, "src/package/module.py"))


def test_functions_that_stand_alone_are_found_in_order(found):
    names = [item.signature.split("(")[0] for item in found if isinstance(item, Function)]

    assert names == ["curved", "joined", "recursive", "one_line"]


def test_functions_that_lean_on_others_are_refused_with_what_they_need(found):
    assert [(item.reason, item.found) for item in found if isinstance(item, UnfitError)] == [
        ("not_alone", "limited needs LIMIT"),
        ("not_alone", "foreign needs Circle, secret"),
    ]


def test_a_function_keeps_decorators_and_comments_and_loses_its_docstring(found):
    assert found[0].signature == "curved(x: float, *, power: int=2) -> float"
    assert found[0].docstring == "Raise to a power.\n\nArgs:\n    x: the base."
    assert found[0].code == (
        "import numpy as np\n\n\n@np.vectorize\n"
        "def curved(x: float, *, power: int = 2) -> float:\n"
        "    # the power is whole\n    return x ** power\n"
    )


def test_a_function_brings_the_imports_it_needs_and_no_others(found):
    head = found[1].code.split("\n\n\n")[0]

    assert head == "from typing import List\nfrom typing import Optional as Maybe\nimport os.path"


def test_every_function_found_runs_on_its_own(found):
    numpy = SimpleNamespace(vectorize=lambda function: function)
    for item in found:
        if isinstance(item, Function):
            code = item.code.replace("import numpy as np", "")
            names = {"np": numpy}
            exec(compile(code, "<row>", "exec"), names)
            assert item.docstring not in code
    assert names["one_line"](7) == 7


def test_lines_are_counted_as_python_counts_them():
    source = 'x = "\x0c\u2028"\r\n\r\ndef f(x):\r\n    """Say x."""\r\n    return x\r\n'

    (item,) = functions(source)

    assert (item.line, item.code) == (3, "def f(x):\n    return x\n")


def test_a_file_that_is_not_python_3_is_refused():
    with pytest.raises(UnfitError) as raised:
        list(functions("print 1\n"))

    assert raised.value.reason == "syntax"


NOT_COMPILED = {
    "has two parameters of one name": 'def bad(a, a):\n    """Doc."""\n    return a\n',
    "binds a name that is nowhere": 'def bad():\n    """Doc."""\n    nonlocal b\n    b = 1\n',
    "declares a name after its use": 'def bad():\n    """Doc."""\n    b = 1\n    global b\n',
    "nests too deep": f'def bad(): """Doc."""; return {" + ".join(["1"] * 1_200)}\n',
}


@pytest.mark.parametrize("code", NOT_COMPILED.values(), ids=NOT_COMPILED)
def test_functions_around_one_that_is_parsed_but_not_compiled_are_kept(code):
    good = 'def good(x):\n    """Doc."""\n    return x\n'

    first, bad, last = functions(f"{good}{code}{good}")

    assert isinstance(first, Function) and isinstance(last, Function)
    assert (bad.reason, bad.within) == ("syntax", "4")


# Licences.


def distributions():
    """Installed packages that declare one licence and ship one file of it."""
    for package in importlib.metadata.distributions():
        declared = package.metadata.get("License-Expression") or ""
        named = [
            path
            for path in package.files or []
            if "licenses" in path.parts and path.name.lower().startswith(("licen", "copying"))
        ]
        if len(names(declared)) == 1 and len(named) == 1:
            text = package.locate_file(named[0]).read_text(errors="replace")
            yield package.name, declared, recognised(text)


def test_licence_texts_are_recognised_as_their_authors_declare_them():
    told = [(name, declared, found) for name, declared, found in distributions() if found]
    single = [entry for entry in told if " AND " not in entry[2]]  # the others are bundles

    assert len(single) >= 20
    assert [entry for entry in single if entry[1] != entry[2]] == []


def test_a_condition_beside_a_licence_makes_it_unknown():
    mit = "Permission is hereby granted, free of charge, to any person obtaining a copy"

    assert recognised(f'"Commons Clause" License Condition v1.0\n{mit}') == ""
    assert recognised("All rights reserved.") == ""


EXPRESSIONS = {
    "MIT": ("MIT",),
    "MIT AND Apache-2.0": ("Apache-2.0", "MIT"),
    "(MIT OR Apache-2.0) AND BSD-3-Clause": ("Apache-2.0", "BSD-3-Clause", "MIT"),
    "Apache-2.0 WITH LLVM-exception": ("Apache-2.0",),
    "MIT License": (),
    "MIT AND": (),
    "(MIT": (),
    "MIT)": (),
    "AND": (),
    "": (),
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_licences_named_by(expression):
    assert names(expression) == EXPRESSIONS[expression]


def test_one_of_alternatives_is_enough_and_all_of_a_sum_are_needed():
    allowed = frozenset({"mit", "isc"})

    assert permits("MIT", allowed)
    assert permits("MIT OR GPL-3.0-only", allowed)
    assert permits("MIT AND ISC", allowed)
    assert not permits("MIT AND GPL-3.0-only", allowed)
    assert not permits("", allowed)


def test_a_file_may_declare_its_licence_in_its_head():
    assert declared_in("#!/usr/bin/python\n# SPDX-License-Identifier: MIT OR ISC\n") == "MIT OR ISC"
    assert declared_in("/* SPDX-License-Identifier: MIT */") == "MIT"
    assert declared_in("x = 1\n" * 40 + "# SPDX-License-Identifier: MIT\n") is None


DECLARED = {
    "an unknown name": ("# SPDX-License-Identifier: Proprietary\n", ""),
    "an unknown name after a known one": ("# SPDX-License-Identifier: MIT/Own\n", ""),
    "two licences": (
        "# SPDX-License-Identifier: MIT OR ISC\n# SPDX-License-Identifier: GPL-2.0+\n",
        "(MIT OR ISC) AND (GPL-2.0+)",
    ),
    "a known and an unknown name": (
        "# SPDX-License-Identifier: MIT\n# SPDX-License-Identifier: Own\n",
        "",
    ),
}


@pytest.mark.parametrize("head, told", DECLARED.values(), ids=DECLARED)
def test_a_file_that_declares(head, told):
    assert declared_in(head) == told


MIT = (
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this software "
    "{0}, to deal in the Software without restriction ... The above copyright notice and this "
    "permission notice shall be included in all copies. {1}"
)
BSD = (
    "Redistribution and use in source and binary forms, with or without modification, are "
    "permitted provided that the following conditions are met: {} Neither the name of the "
    "University may be used to endorse or promote products"
)
NOT_KNOWN = {
    "MIT for some purposes": MIT.format("for non-commercial purposes", ""),
    "MIT broken across lines": MIT.format("for non-\ncommercial purposes", ""),
    "MIT without its grant": MIT.format("for research", "").replace("without restriction", ""),
    "JSON": MIT.format("", "The Software shall be used for Good, not Evil."),
    "BSD for some purposes": "Redistribution and use in source and binary forms, with or without "
    "modification, are permitted for non-commercial purposes only",
    "BSD-4-Clause": BSD.format("3. All advertising materials mentioning features"),
    "a remark": "Portions are licensed under the Apache License, Version 2.0; the rest is "
    "proprietary.",
    "a remark without a grant": "Portions are licensed under the Apache License, Version 2.0.",
    "BUSL-1.1": "Business Source License 1.1 ... Change License: Mozilla Public License Version "
    "2.0 ... The Licensor hereby grants you the right to copy, and make non-production use",
    "another change licence": "Change License: Mozilla Public License Version 2.0",
}


@pytest.mark.parametrize("text", NOT_KNOWN.values(), ids=NOT_KNOWN)
def test_a_text_is_taken_for_no_licence_it_is_not(text):
    assert recognised(text) == ""


def test_without_their_conditions_the_same_texts_are_known():
    assert recognised(MIT.format("", "")) == "MIT"
    assert recognised(BSD.format("")) == "BSD-3-Clause"


DEBIAN = {
    "Apache-2.0": "Apache-2.0",
    "CC0-1.0": "CC0-1.0",
    "GPL-2": "GPL-2.0-only",
    "GPL-3": "GPL-3.0-only",
    "LGPL-2.1": "LGPL-2.1-only",
    "LGPL-3": "LGPL-3.0-only",
    "MPL-2.0": "MPL-2.0",
}


@pytest.mark.parametrize("name", DEBIAN)
def test_the_texts_that_debian_ships_are_known(name):
    path = Path("/usr/share/common-licenses") / name
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")

    assert recognised(path.read_text()) == DEBIAN[name]
