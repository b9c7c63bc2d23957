"""What rows share with the problems of benchmarks, against plain sets and `in`."""

import json
import os
import pickle
import re
import subprocess
import sys
import textwrap
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_sandbox.benchmarks import read_problems
from eval_sandbox.problem import Problem, Script
from jobs.data.code import code_of, parse
from jobs.data.contamination import FEWEST_NODES, Contamination, Index
from jobs.data.overlap import SHORTEST_SUBSTRING, SHORTEST_WHOLE, Overlap, Text
from jobs.data.problem_texts import entry_of, question_of, solution_of
from jobs.data.row import Row
from jobs.data.syntax import Program

ROOT = Path(__file__).parent.parent
QUESTION = "Fold every second ribbon of a crate under its neighbour, then weigh the whole crate."
REFERENCE = """def weigh(crate, table):
    total = 0
    for place, ribbon in enumerate(crate):
        total += table[ribbon] * (2 if place % 2 else 1)
    return total
"""


def problem(task_id="P/1", question=QUESTION, reference=REFERENCE, entry_point="weigh"):
    tests = (Script(source=f"assert {entry_point}"),)
    return Problem(
        task_id=task_id,
        instruction=question,
        prompt="",
        entry_point=entry_point,
        tests=tests,
        reference=reference,
    )


def row(instruction="", response="", given=""):
    return Row(
        instruction=instruction,
        input=given,
        response=response,
        source="s",
        place="rows.jsonl:1",
        licence="MIT",
    )


def found(index, one):
    code = code_of(one)
    hits = index.hits(one, code, parse(code) if code else None)
    return {(hit.method, hit.task_id) for hit in hits}


def index(*problems, **said):
    return Index.build({"own": problems or (problem(),)}, Contamination(**said))


# Single rows.


ROWS = {
    "the question, in capitals and other lines": (
        row(QUESTION.upper().replace(" ", "\n  ")),
        {"substring", "ngram8", "ngram10", "ngram13"},
    ),
    "the question among other words, in the input": (
        row("Answer this.", given=f"Exercise 4: {QUESTION} Thank you."),
        {"substring", "ngram8", "ngram10", "ngram13"},
    ),
    "eight words of the question": (
        row("Now fold every second ribbon of a crate under yours."),
        {"ngram8"},
    ),
    "ten words of the question": (
        row("Now fold every second ribbon of a crate under its neighbour. Rest."),
        {"ngram8", "ngram10"},
    ),
    "seven words of the question": (row("Fold every second ribbon of a crate. Leave."), set()),
    "the reference": (
        row("Go on.", REFERENCE),
        {"substring", "ngram8", "ngram10", "ngram13", "syntax"},
    ),
    "the reference under other names": (
        row(
            "Go on.",
            "def f(a, b):\n  # note\n  c = 0\n  for d, e in enumerate(a):\n"
            "    c += b[e] * (2 if d % 2 else 1)\n  return c\n",
        ),
        {"syntax"},
    ),
    "something else": (row("Weigh a crate.", "def weigh(crate):\n    return sum(crate)\n"), set()),
}


@pytest.mark.parametrize("one, methods", ROWS.values(), ids=ROWS)
def test_methods_that_find(one, methods):
    assert found(index(), one) == {(method, "P/1") for method in methods}


def test_evidence_is_what_both_have_in_common():
    (hit,) = index().hits(row("Now fold every second ribbon of a crate under yours."), "", None)

    assert (hit.benchmark, hit.evidence) == ("own", "fold every second ribbon of a crate under")


def test_words_that_several_problems_of_a_benchmark_share_name_none_of_them():
    shared = "Sort every shelf of a library by weight and colour"
    twins = [problem(f"P/{n}", f"{shared}, {end}") for n, end in enumerate(("then go", "or stay"))]

    assert found(index(*twins), row(f"{shared}.")) == set()


def test_each_benchmark_names_its_own_problem():
    both = Index.build({"a": [problem("A/1")], "b": [problem("B/1")]}, Contamination())

    hits = both.hits(row(QUESTION), "", None)

    assert {(h.benchmark, h.task_id) for h in hits} == {("a", "A/1"), ("b", "B/1")}


def test_a_manner_of_speaking_is_no_find():
    ends = ("tall trees", "old boats", "red doors", "late trains", "wet stones", "cold lakes")
    problems = [problem(f"P/{n}", f"Write a function to find the {e}") for n, e in enumerate(ends)]

    one = row("Write a function to find the tall trees near here.")

    # Six problems speak like this, so that only two of the first eight words tell anything.
    assert found(index(*problems), one) - {("substring", "P/0")} == {
        (method, "P/0") for method in ("ngram10", "ngram13")
    }
    assert found(index(*problems), row("Write a function to find the tall people.")) == set()


def test_numbers_alone_are_no_find():
    numbers = " ".join(map(str, range(1, 30)))

    assert found(index(problem(question=f"Reverse them: {numbers}.")), row(numbers)) == set()


RENAMED = REFERENCE.replace("weigh", "f").replace("crate", "a").replace("ribbon", "b")
RENAMED = RENAMED.replace("table", "c").replace("total", "d").replace("place", "e")
HIDDEN = {
    "a block beside one that does not parse": row("Go.", f"```\n{RENAMED}```\nso\n```\n>>> 1\n```"),
    "a block with another name": row("Go.", f"```text\n{RENAMED}```\n"),
    "a block that a later one defines anew": row(
        "Go.", f"```py\n{RENAMED}```\nbetter:\n```py\ndef f(a, c): return 0\n```"
    ),
    "a block that is indented": row("Go.", "```text\n" + textwrap.indent(RENAMED, "    ") + "```"),
    "code before a block": row("Go.", f"{RENAMED}\nprints\n```py\nprint(1)\n```"),
    "code after prose": row("Go.", f"Here you are:\n\n{RENAMED}\nIt's done."),
    "the input": row("Say what it does.", "It weighs.", RENAMED),
    "the instruction, among prose": row(f"What does this do?\n{RENAMED}\nSay it.", "It weighs."),
    "a block of the instruction": row(f"Why?\n```python\n{RENAMED}```\n", "Because."),
}


@pytest.mark.parametrize("one", HIDDEN.values(), ids=HIDDEN)
def test_a_renamed_reference_is_found_and_nominated_in(one):
    made, code = index(), code_of(one)
    tree = parse(code) if code else None

    assert found(made, one) == {("syntax", "P/1")}
    assert {n.function for n in made.nominate(row_about(one), code, tree)} == {"f"}


def row_about(one):
    """The same row, in whose words the problem is."""
    return replace(one, response=f"Weigh crates of ribbons. Fold.\n{one.response}")


def test_a_lambda_that_is_the_reference_is_found():
    made = index(problem(reference="def weigh(a, b):\n    return a * a + b * b - a"))

    assert found(made, row("Go.", "f = lambda x, y: x * x + y * y - x\n")) == {("syntax", "P/1")}


CHINESE = "给定两个整数数组,请找出同时出现在两个数组里的所有奇数,并按从大到小的顺序返回。"
IN_CHINESE = {
    "the question among other words": (
        f"请用程序解题: {CHINESE}谢谢",
        {"substring", "ngram8", "ngram10", "ngram13"},
    ),
    "ten characters of it": ("我们同时出现在两个数组里面", {"ngram8", "ngram10"}),
    "seven characters of it": ("同时出现在两个", set()),
}


@pytest.mark.parametrize("text, methods", IN_CHINESE.values(), ids=IN_CHINESE)
def test_a_question_in_chinese_is_found_by_its_characters_in(text, methods):
    assert found(index(problem(question=CHINESE)), row(text)) == {(m, "P/1") for m in methods}


# What is asked for.


def test_a_method_in_neither_list_is_not_used():
    assert found(index(drop=["ngram10"], flag=[]), row(QUESTION, REFERENCE)) == {("ngram10", "P/1")}


def test_decontamination_is_off_without_methods():
    off = index(drop=[], flag=[])
    tree = parse(REFERENCE)

    assert off.hits(row(QUESTION, REFERENCE), REFERENCE, tree) == []
    assert off.nominate(row(QUESTION, REFERENCE), REFERENCE, tree) == []


def test_code_that_is_nested_beyond_measure_is_compared_by_its_words():
    long = "def f(a):\n    return " + " + ".join(["a"] * 700)
    short = problem(reference="def f(a):\n    return a + a + a + a + a", entry_point="f")

    assert parse(long) is not None
    assert found(index(short), row(QUESTION, long)) >= {("substring", "P/1")}


def test_without_benchmarks_nothing_is_found():
    empty = Index.build({}, Contamination())

    assert found(empty, row(QUESTION, REFERENCE)) == set()
    assert empty.nominate(row(QUESTION, REFERENCE), REFERENCE, parse(REFERENCE)) == []


MISTAKES = {
    "a method in both lists": ({"drop": ["syntax"], "flag": ["syntax"]}, "drop and in flag"),
    "an unknown method": ({"drop": ["ngram9"]}, "drop.0"),
    "an unknown key": ({"dorp": []}, "Did you mean 'drop'?"),
    "no pair at all": ({"pairs_per_row": 0}, "pairs_per_row"),
}


@pytest.mark.parametrize("said, told", MISTAKES.values(), ids=MISTAKES)
def test_a_recipe_is_refused_for(said, told):
    parsed, mistakes = Contamination.parse(said)

    assert parsed is None
    assert told in " ".join(mistakes)


# Nominations.


def nominated(one, *problems, **said):
    tree = parse(one.response)
    made = index(*problems, **said).nominate(one, one.response, tree)
    return [(n.task_id, n.function, n.by) for n in made]


NOMINATED = {
    "the same name": (row("x", "def weigh(a, b): pass"), [("P/1", "weigh", "name")]),
    "the same name in another case": (
        row("x", "def Weigh(a, b): pass"),
        [("P/1", "Weigh", "name")],
    ),
    "a method of the same name": (
        row("x", "class S:\n    def weigh(self, a, b): pass"),
        [("P/1", "S.weigh", "name")],
    ),
    "eight words in common": (
        row("Fold every second ribbon of a crate under yours", "def f(a, b): pass"),
        [("P/1", "f", "ngram8")],
    ),
    "rare words in common": (
        row("Weigh a crate of ribbons.", "def f(a, b): pass"),
        [("P/1", "f", "arity")],
    ),
    "a default that may be left out": (
        row("Weigh a crate of ribbons.", "def f(a, b, c=1): pass"),
        [("P/1", "f", "arity")],
    ),
    "the caller of two functions": (
        row("Weigh a crate of ribbons.", "def f(a, b): return g(b, a)\ndef g(a, b): pass"),
        [("P/1", "f", "arity")],
    ),
    "the last of two functions": (
        row("Weigh a crate of ribbons.", "def f(a, b): pass\ndef g(a, b): pass"),
        [("P/1", "g", "arity")],
    ),
    "a function whose name has words of the question": (
        row("Weigh a crate of ribbons.", "def fold_ribbon(a, b): pass\ndef g(a, b): pass"),
        [("P/1", "fold_ribbon", "arity")],
    ),
    "another number of arguments": (row(QUESTION, "def weigh(a): pass"), []),
    "a function inside of another": (row("x", "def f(a):\n    def weigh(a, b): pass"), []),
    "other words": (row("Paint a fence.", "def f(a, b): pass"), []),
    "no function": (row(QUESTION, "print(1)"), []),
}
OTHERS = [
    problem(f"P/{n}", f"Paint {word} houses on Mondays.", f"def paint(a): return {n}", "paint")
    for n, word in enumerate(("green", "blue", "brown", "pink"), start=2)
]


@pytest.mark.parametrize("one, pairs", NOMINATED.values(), ids=NOMINATED)
def test_pairs_that_are_nominated_for(one, pairs):
    assert nominated(one, problem(), *OTHERS) == pairs


def test_only_ways_that_are_asked_for_nominate():
    one = row(QUESTION, "def weigh(a, b): pass")

    assert nominated(one, problem(), *OTHERS, nominate=["arity"]) == [("P/1", "weigh", "arity")]
    assert nominated(one, problem(), *OTHERS, nominate=[]) == []


def test_rare_words_nominate_no_more_pairs_than_allowed_and_the_likeliest_first():
    words = ["amber", "birch", "cedar", "delta", "ember", "fjord"]
    problems = [
        problem(f"P/{n}", " ".join(words[: n + 1]), "def f(a): pass", "f") for n in range(6)
    ] + [problem(f"Q/{n}", f"other{'x' * n} things", "def f(a): pass", "f") for n in range(60)]
    one = row("amber birch cedar delta ember fjord", "def g(a): pass")

    assert [task_id for task_id, _, _ in nominated(one, *problems, pairs_per_row=2)] == [
        *("P/5", "P/4")
    ]


# Against brute force.


WORDS = ("fold", "every", "second", "ribbon", "of", "crate", "xx", "yy", "3")
TEXTS = st.lists(st.sampled_from(WORDS), min_size=0, max_size=24).map(" ".join)


def words(text):
    return re.findall(r"\w+", text.lower())


def grams(text, size):
    listed = words(text)
    return {tuple(listed[n : n + size]) for n in range(len(listed) - size + 1)}


def shared_by_brute_force(problems, text, size):
    """By sets: n-grams of one problem alone, at least half of whose words have letters and are in
    no four words that five problems have; whole problems where they are shorter."""
    fours = [grams(question, 4) for question in problems]
    common = {four for f in fours for four in f if sum(four in other for other in fours) >= 5}
    found = set()
    for number, question in enumerate(problems):
        listed, others = words(question), problems[:number] + problems[number + 1 :]
        if SHORTEST_WHOLE <= len(listed) < size and tuple(listed) in grams(text, len(listed)):
            found.add(number)
        dull = set()
        for n in range(len(listed) - 3):
            dull |= set(range(n, n + 4)) if tuple(listed[n : n + 4]) in common else set()
        for n in range(len(listed) - size + 1):
            gram = tuple(listed[n : n + size])
            telling = [p for p in range(n, n + size) if p not in dull and listed[p].isalpha()]
            alone = not any(gram in grams(other, size) for other in others)
            if alone and 2 * len(telling) >= size and gram in grams(text, size):
                found.add(number)
    return found


@st.composite
def problems_and_texts(draw):
    """Problems, and a text that has a piece of one of them in it."""
    problems = draw(st.lists(TEXTS, min_size=1, max_size=7))
    listed = words(draw(st.sampled_from(problems)))
    start, end = draw(st.integers(0, 8)), draw(st.integers(5, 24))
    return problems, " ".join([draw(TEXTS), *listed[start:end], draw(TEXTS)])


@settings(max_examples=400)
@given(problems_and_texts())
def test_ngrams_are_those_that_sets_of_tuples_have(case):
    problems, text = case
    sizes = {"ngram8": 8, "ngram10": 10, "ngram13": 13}
    texts = [Text(("b", str(number)), question, "") for number, question in enumerate(problems)]

    shared = Overlap.of(texts, sizes, substrings=False).find(text)

    assert {(s.method, s.owner[1]) for s in shared} == {
        (method, str(number))
        for method, size in sizes.items()
        for number in shared_by_brute_force(problems, text, size)
    }
    assert all(s.evidence in " ".join(words(text)) for s in shared)


PIECES = st.lists(st.sampled_from([*WORDS, "\n", "  ", "(", ").", "Fold"]), max_size=24).map(
    "".join
)
SPACED = st.lists(st.sampled_from([*WORDS, "\n", "(", ").", "Fold"]), max_size=24).map(" ".join)


@settings(max_examples=300)
@given(st.lists(SPACED, min_size=1, max_size=3), PIECES, PIECES)
def test_substrings_are_those_that_in_finds(needles, before, after):
    text = before + needles[0] + after
    texts = [Text(("b", str(number)), needle, needle) for number, needle in enumerate(needles)]

    shared = Overlap.of(texts, {}, substrings=True).find(text)

    def flat(value):
        return " ".join(value.lower().split())

    assert {s.owner[1] for s in shared} == {
        str(number)
        for number, needle in enumerate(needles)
        if len(words(needle)) >= SHORTEST_SUBSTRING and flat(needle) in flat(text)
    }


# Published benchmarks.


@pytest.fixture(scope="module")
def benchmarks():
    """HumanEval and MBPP as published."""
    folder = Path(os.environ.get("CODELADDER_DATA") or ROOT.parent / "shared" / "data") / "bench"
    if not folder.is_dir():
        pytest.skip(f"no published benchmark files: {folder} is not there (CODELADDER_DATA)")
    return {
        "humaneval": read_problems("humaneval", folder / "HumanEval.jsonl.gz"),
        "mbpp": read_problems("mbpp", folder / "mbpp.jsonl"),
    }


@pytest.fixture(scope="module")
def published_index(benchmarks):
    return Index.build(benchmarks, Contamination())


@pytest.mark.parametrize("name, short", [("humaneval", 13), ("mbpp", 8)])
def test_every_published_solution_is_found_as_a_row(benchmarks, published_index, name, short):
    """But for solutions of fewer than seven words, which are looked for by their syntax alone."""
    missed, too_short = [], []
    for one in benchmarks[name]:
        solution = solution_of(one)
        methods = {
            m
            for m, task_id in found(published_index, row("Go.", solution))
            if task_id == one.task_id
        }
        if len(words(solution)) < SHORTEST_SUBSTRING:
            too_short.append(one.task_id)
        elif "substring" not in methods:
            missed.append(one.task_id)

    assert missed == []
    assert len(too_short) == short


@pytest.mark.parametrize("name, small", [("humaneval", 6), ("mbpp", 41)])
def test_every_published_reference_is_found_by_its_syntax(benchmarks, published_index, name, small):
    """But for functions of fewer than nine nodes, such as `return a + b`."""
    missed, too_small = [], []
    for one in benchmarks[name]:
        tree = parse(one.reference)
        if Program(tree).form(entry_of(one, tree)).nodes < FEWEST_NODES:
            too_small.append(one.task_id)
        elif ("syntax", one.task_id) not in found(published_index, row("Go.", one.reference)):
            missed.append(one.task_id)

    assert missed == []
    assert len(too_small) == small


@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_every_published_question_is_found_as_a_row(benchmarks, published_index, name):
    missed = [
        one.task_id
        for one in benchmarks[name]
        if ("substring", one.task_id) not in found(published_index, row(question_of(one)))
    ]

    assert missed == []


def test_questions_of_the_training_part_that_stand_in_the_test_part_are_found(benchmarks):
    """MBPP asks some questions twice, once in each part."""
    numbered = [(int(one.task_id.rpartition("/")[2]), one) for one in benchmarks["mbpp"]]
    train = [one for number, one in numbered if 601 <= number <= 974]
    test = [one for number, one in numbered if 11 <= number <= 510]
    made = Index.build({"mbpp": test}, Contamination())

    twice = {
        (a.task_id, b.task_id) for a, b in product(train, test) if a.instruction == b.instruction
    }
    named = {
        (one.task_id, task_id)
        for one in train
        for method, task_id in found(made, row(one.instruction))
        if method == "substring"
    }

    assert len(twice) > 2
    assert twice <= named


def test_an_index_finds_the_same_in_another_process(published_index, benchmarks, tmp_path):
    rows = [row(one.instruction, one.reference) for one in benchmarks["mbpp"][::40]]
    (tmp_path / "index").write_bytes(pickle.dumps((published_index, rows)))
    script = (
        "import json, pathlib, pickle, sys\n"
        "from jobs.data.code import parse\n"
        "index, rows = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "trees = [parse(row.response) for row in rows]\n"
        "print(json.dumps([[repr(index.hits(row, row.response, tree)),"
        " repr(index.nominate(row, row.response, tree))] for row, tree in zip(rows, trees)]))"
    )

    answers = [
        subprocess.run(
            [sys.executable, "-c", script, tmp_path / "index"],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in ("1", "2")
    ]

    trees = [parse(one.response) for one in rows]
    assert answers[0] == answers[1]
    assert json.loads(answers[0]) == [
        [
            repr(published_index.hits(one, one.response, tree)),
            repr(published_index.nominate(one, one.response, tree)),
        ]
        for one, tree in zip(rows, trees, strict=True)
    ]
