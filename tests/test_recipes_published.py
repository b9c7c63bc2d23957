"""Every ready recipe, end to end, on a small file in the schema that its authors publish.

The columns of `PUBLISHED` are from the page named beside them, all of them with their types; the
values are ours. A column that no page has is a defect of the recipe.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from eval_sandbox.contract import Judging, Limits
from eval_sandbox.judge import Worker
from eval_sandbox.problem import Completion, Dialogue, Problem, Script
from jobs.data.row import Refused, Row
from jobs.data.sources import Source, read_source

RECIPES = Path(__file__).parent.parent / "datasets" / "train"
ANY_COMMIT = "0123456789abcdef0123456789abcdef01234567"

DOUBLE = "def double(x):\n    return 2 * x\n"
FILE_OF_CODE = '''import math


def area(radius):
    """Area of a circle of this radius."""
    return math.pi * radius**2  # not rounded


def helper(x):
    """Leans on another function of the file."""
    return area(x)
'''
AREA = "import math\n\n\ndef area(radius):\n    return math.pi * radius**2  # not rounded\n"
ASKED_AREA = "Write a Python function `area(radius)`.\n\nArea of a circle of this radius."
LEETCODE_CODE = "class Solution:\n    def double(self, nums: List[int]) -> List[int]:\n"
LEETCODE_ANSWER = LEETCODE_CODE + "        return [2 * x for x in nums]\n"
LEETCODE_CHECK = (
    "def check(candidate):\n    assert candidate(nums = [1, 2]) == [2, 4]\n"
    "    assert candidate(nums = []) == []\n"
)
PRINTS_DOUBLE = "print(2 * int(input()))\n"
PROGRAM_ASKED = (
    "Write a Python program that reads from standard input and prints to standard output."
)


@dataclass(frozen=True)
class Published:
    """A file as its authors publish it, and what is to come of it."""

    page: str
    file: str
    """Its place in the repository on the hub."""
    records: list[dict[str, Any]]
    rows: list[tuple[str, str, str]]
    """Instruction, input and response of the rows."""
    refused: tuple[str, ...] = ()
    """Reasons, in order."""


PUBLISHED = {
    "code-alpaca": Published(
        page="https://github.com/sahil280114/codealpaca/blob/master/README.md, Data Release; the "
        "file: https://huggingface.co/datasets/sahil2801/CodeAlpaca-20k/tree/main",
        file="code_alpaca_20k.json",
        records=[
            {"instruction": "Double it.", "input": "x = 4", "output": "8"},
            {"instruction": "Write a function that doubles.", "input": "", "output": DOUBLE},
        ],
        rows=[("Double it.", "x = 4", "8"), ("Write a function that doubles.", "", DOUBLE)],
    ),
    "evol-instruct-code": Published(
        page="https://huggingface.co/datasets/nickrosh/Evol-Instruct-Code-80k-v1/tree/main for the "
        "file; its columns are read by github.com/JackZeng0208/Code-Generation-LLM-LoRA, "
        "data/evol_instruct_code_preprocess.py",
        file="EvolInstruct-Code-80k.json",
        records=[{"instruction": "Double a number.", "output": DOUBLE}],
        rows=[("Double a number.", "", DOUBLE)],
    ),
    "oss-instruct": Published(
        page="https://github.com/ise-uiuc/magicoder/blob/main/src/magicoder/generate_data.py "
        "writes all but lang, which readers of the release find beside them",
        file="data-oss_instruct-decontaminated.jsonl",
        records=[
            {
                "lang": lang,
                "raw_index": 10,
                "index": 20,
                "seed": "x = 1\n",
                "openai_fingerprint": "fp_eeff13170a",
                "problem": f"Double a number in {lang}.",
                "solution": f"```{lang}\n{DOUBLE}```",
            }
            for lang in ("python", "cpp")
        ],
        rows=[("Double a number in python.", "", f"```python\n{DOUBLE}```")],
        refused=("where",),
    ),
    "self-oss-instruct": Published(
        page="Hugging Face cookbook, Data Annotation with Argilla Spaces (M. Laurer), which prints "
        "the features of bigcode/self-oss-instruct-sc2-exec-filter-50k",
        file="data/train-00000-of-00001.parquet",
        records=[
            {
                "fingerprint": None,
                "sha1": "9e1a1b3a",
                "seed": "def f(x): ...",
                "response": f"Multiply by two.\n\n```python\n{DOUBLE}```",
                "concepts": ["arithmetic"],
                "prompt": "You are exceptionally skilled ...",
                "instruction": "Write `double`.",
                "id": 1,
            }
        ],
        rows=[("Write `double`.", "", f"Multiply by two.\n\n```python\n{DOUBLE}```")],
    ),
    "leetcode": Published(
        page="https://github.com/newfacade/LeetCodeDataset/blob/main/README.md, Data Fields; the "
        "file: https://huggingface.co/datasets/newfacade/LeetCodeDataset/tree/main",
        file="LeetCodeDataset-train.jsonl",
        records=[
            {
                "task_id": "double-all",
                "question_id": 1,
                "difficulty": "Easy",
                "tags": ["Array", "Hash Table"],
                "problem_description": "Return every number doubled.\n",
                "starter_code": LEETCODE_CODE + "        ",
                "estimated_date": "2015-08-07",
                "prompt": "from typing import *\n\ninf = float('inf')\n",
                "completion": LEETCODE_ANSWER,
                "entry_point": "Solution().double",
                "test": LEETCODE_CHECK,
                "input_output": [{"input": "nums = [1, 2]", "output": "[2, 4]"}],
                "query": "You are an expert Python programmer. ...",
                "response": f"```python\n{LEETCODE_ANSWER}```",
            }
        ],
        rows=[
            (
                "Return every number doubled.\n\nComplete this code:\n```python\n"
                f"{LEETCODE_CODE}        \n```",
                "",
                LEETCODE_ANSWER,
            )
        ],
    ),
    "code-contests": Published(
        page="https://huggingface.co/datasets/deepmind/code_contests/blob/main/README.md",
        file="data/train-00000-of-00039-e991a271dbfa9925.parquet",
        records=[
            {
                "name": "1_A. Double",
                "description": "Print the double of a number.",
                "public_tests": {"input": ["2\n"], "output": ["4\n"]},
                "private_tests": {"input": ["5\n"], "output": ["10\n"]},
                "generated_tests": {"input": ["0\n", "-1\n"], "output": ["0\n", "-2\n"]},
                "source": 2,
                "difficulty": 7,
                "solutions": {
                    "language": [2, 1, 3, 3],
                    "solution": [
                        "int main() {}",
                        "print 2 * input()",
                        "print 2 * input()",
                        PRINTS_DOUBLE.replace("\n", "\r\n"),
                    ],
                },
                "incorrect_solutions": {"language": [3], "solution": ["print(2)"]},
                "cf_contest_id": 1,
                "cf_index": "A",
                "cf_points": 0.0,
                "cf_rating": 800,
                "cf_tags": ["math"],
                "is_description_translated": False,
                "untranslated_description": "",
                "time_limit": {"seconds": 1, "nanos": 0},
                "memory_limit_bytes": 256000000,
                "input_file": "",
                "output_file": "",
            }
        ],
        rows=[(f"Print the double of a number.\n\n{PROGRAM_ASKED}", "", PRINTS_DOUBLE)],
    ),
    "the-stack-smol": Published(
        page="https://huggingface.co/datasets/bigcode/the-stack-smol, Dataset Structure: the "
        "features that `load_dataset` prints; what they hold: the card of The Stack v1.0",
        file="data/python/data.json",
        records=[
            {
                "content": FILE_OF_CODE,
                "avg_line_length": 21.1,
                "max_line_length": 49,
                "alphanum_fraction": 0.6,
                "licenses": licences,
                "repository_name": "someone/shapes",
                "path": "shapes/circle.py",
                "size": len(FILE_OF_CODE),
                "lang": "Python",
            }
            for licences in (["MIT"], ["GPL-3.0"])
        ],
        rows=[(ASKED_AREA, "", AREA)],
        refused=("not_alone", "licence"),
    ),
    "the-stack-dedup": Published(
        page="https://huggingface.co/datasets/bigcode/the-stack-dedup/blob/main/README.md",
        file="data/python/data-00000-of-00206.parquet",
        records=[
            {
                "hexsha": "e3767ec899c9b2cfe3e4c0ecb875d932cb01a27d",
                "size": len(FILE_OF_CODE),
                "ext": "py",
                "lang": lang,
                **{
                    f"max_{kind}_{part}": value
                    for kind in ("stars", "issues", "forks")
                    for part, value in {
                        "repo_path": "shapes/circle.py",
                        "repo_name": "someone/shapes",
                        "repo_head_hexsha": "e3767ec899c9b2cfe3e4c0ecb875d932cb01a27d",
                        "repo_licenses": ["Apache-2.0", "MIT"],
                        "count": 5,
                        **{f"repo_{kind}_event_{end}_datetime": "2020" for end in ("min", "max")},
                    }.items()
                },
                "content": FILE_OF_CODE,
                "avg_line_length": 21.1,
                "max_line_length": 49,
                "alphanum_fraction": 0.6,
            }
            for lang in ("Python", "Go")
        ],
        rows=[(ASKED_AREA, "", AREA)],
        refused=("not_alone", "where"),
    ),
}


def declared(recipe):
    return yaml.safe_load((RECIPES / f"{recipe}.yaml").read_text())


def sources_of(recipe):
    return {
        name: Source.model_validate(source) for name, source in declared(recipe)["sources"].items()
    }


def write(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    elif path.suffix == ".json" and "stack" not in path.parent.parts[-3]:
        path.write_text(json.dumps(records))
    else:
        path.write_text("".join(json.dumps(record) + "\n" for record in records))


def found_in(recipe, folder):
    """Rows of a recipe whose source was copied to a local folder in the hub's form."""
    ((name, source),) = sources_of(recipe).items()
    at_hand = source.model_copy(update={"hub": str(folder), "revision": ANY_COMMIT})
    found = list(read_source(name, at_hand, RECIPES))
    rows = [row for row in found if isinstance(row, Row)]
    return rows, [refused.reason for refused in found if isinstance(refused, Refused)]


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_recipe_reads_the_published_schema_of(recipe, tmp_path):
    published = PUBLISHED[recipe]
    write(tmp_path / published.file, published.records)

    rows, refused = found_in(recipe, tmp_path)

    assert [(row.instruction, row.input, row.response) for row in rows] == published.rows
    assert refused == list(published.refused)


@pytest.mark.parametrize("recipe", ["leetcode", "code-contests"])
def test_published_answer_passes_the_tests_that_became_of(recipe, tmp_path, worker):
    write(tmp_path / PUBLISHED[recipe].file, PUBLISHED[recipe].records)
    (row,), _ = found_in(recipe, tmp_path)

    assert outcome(worker, row, row.response) == "passed"
    assert outcome(worker, row, row.response.replace("2 *", "3 *")) == "failed"


@pytest.fixture(scope="module")
def worker():
    with Worker() as worker:
        yield worker


def outcome(worker, row, answer):
    tests = [
        Script(source=test) if isinstance(test, str) else Dialogue(**test)
        for test in row.listed_tests
    ]
    problem = Problem(
        task_id="t",
        instruction=row.instruction,
        prompt="",
        entry_point=row.entry_point,
        tests=tuple(tests),
        reference=row.preamble + row.response,
        trusted=not any(isinstance(test, Script) for test in tests),
    )
    judging = Judging(preamble="none", extract="none", limits=Limits())
    completion = Completion(task_id="t", text=row.preamble + answer, whole=True)
    return worker.judge(problem, completion, judging).outcome.value


def test_tests_of_a_contest_are_public_then_private_then_generated(tmp_path):
    write(tmp_path / PUBLISHED["code-contests"].file, PUBLISHED["code-contests"].records)
    (row,), _ = found_in("code-contests", tmp_path)

    assert [test["stdin"] for test in row.listed_tests] == ["2\n", "5\n", "0\n", "-1\n"]


def test_rows_of_the_stack_carry_their_own_licence_and_repository(tmp_path):
    write(tmp_path / PUBLISHED["the-stack-dedup"].file, PUBLISHED["the-stack-dedup"].records)
    (row,), _ = found_in("the-stack-dedup", tmp_path)

    assert row.licence == "Apache-2.0 AND MIT"
    assert row.attribution.startswith("BigCode, The Stack")
    assert row.attribution.endswith(": https://github.com/someone/shapes: shapes/circle.py")


SHARED = {
    "exercism": (140, 137, 115),
    "interactive-coding": (86, 86, 79),
}
"""Rows, those with tests, and answers that pass in the sandbox; the rest compare objects of the
program's own classes, which it cannot (docs/sandbox.md), or need a file that is not there."""


@pytest.mark.parametrize("recipe", SHARED)
def test_recipe_reads_the_real_file_of(recipe, published, monkeypatch):
    monkeypatch.setenv("CODELADDER_DATA", str(published))
    ((name, source),) = sources_of(recipe).items()

    rows = [row for row in read_source(name, source, RECIPES) if isinstance(row, Row)]

    assert (len(rows), sum(bool(row.tests) for row in rows)) == SHARED[recipe][:2]
    assert all(row.licence == declared(recipe)["sources"][name]["licence"] for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", SHARED)
def test_real_answers_pass_their_unit_tests_in_the_sandbox_of(
    recipe, published, monkeypatch, worker
):
    monkeypatch.setenv("CODELADDER_DATA", str(published))
    ((name, source),) = sources_of(recipe).items()
    rows = [row for row in read_source(name, source, RECIPES) if isinstance(row, Row)]

    passed = sum(outcome(worker, row, row.response) == "passed" for row in rows if row.tests)

    assert passed >= SHARED[recipe][2]


def test_exercism_track_is_read_out_of_a_commit(tmp_path, worker):
    """Layout and config.json: github.com/exercism/docs, building/tracks/practice-exercises.md."""
    folder = tmp_path / "exercism-python" / "exercises" / "practice" / "double"
    files = {
        ".docs/instructions.md": "# Instructions\n\nDouble a number.\n",
        ".docs/instructions.append.md": "# Instructions append\n\nUse `*`.\n",
        ".meta/config.json": json.dumps(
            {
                "authors": ["a"],
                "files": {
                    "solution": ["double.py"],
                    "test": ["double_test.py"],
                    "example": [".meta/example.py"],
                },
                "blurb": "Double.",
            }
        ),
        ".meta/example.py": DOUBLE,
        "double.py": "def double(x):\n    pass\n",
        "double_test.py": "import unittest\nfrom double import (\n    double,\n)\n\n\n"
        "class DoubleTest(unittest.TestCase):\n    def test_two(self):\n"
        "        self.assertEqual(double(2), 4)\n\n\n"
        "if __name__ == '__main__':\n    unittest.main()\n",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    root = tmp_path / "exercism-python"
    (root / "LICENSE").write_text(MIT)
    ((name, source),) = sources_of("exercism-track").items()

    (row,) = read_source(name, source.model_copy(update={"revision": committed(root)}), tmp_path)

    assert row.instruction == (
        "Double a number.\n\nUse `*`.\n\nComplete this code:\n```python\n"
        "def double(x):\n    pass\n```"
    )
    assert (row.response, row.licence) == (DOUBLE, "MIT")
    assert outcome(worker, row, DOUBLE) == "passed"
    assert outcome(worker, row, "def double(x):\n    return x\n") == "failed"


MIT = """MIT License

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, provided that the above copyright notice and
this permission notice shall be included in all copies of the Software.
"""


def committed(folder):
    """Commit a folder; the commit."""
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "Begin"]):
        subprocess.run([*git, *command], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_github_recipe_reads_documented_functions_of_a_commit(tmp_path):
    root = tmp_path / "the-algorithms-python"
    (root / "maths").mkdir(parents=True)
    (root / "maths" / "area.py").write_text(FILE_OF_CODE)
    (root / "LICENSE.md").write_text(MIT)
    ((name, source),) = sources_of("github").items()

    found = list(
        read_source(name, source.model_copy(update={"revision": committed(root)}), tmp_path)
    )

    assert [
        (row.instruction, row.response, row.place) for row in found if isinstance(row, Row)
    ] == [(ASKED_AREA, AREA, "maths/area.py:4")]
    assert [(r.reason, r.place) for r in found if isinstance(r, Refused)] == [
        ("not_alone", "maths/area.py:9")
    ]


@pytest.mark.parametrize("recipe", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_recipe_says_whose_it_is_and_under_what(recipe):
    for source in sources_of(recipe).values():
        assert source.attribution
        assert source.licence
        assert source.url or source.file == "starter.jsonl"
        if "openai" in source.terms.lower() or "ChatGPT" in source.terms:
            assert "forbid" in source.terms


def test_starter_recipe_reads_every_line_of_its_file():
    ((name, source),) = sources_of("starter").items()
    lines = (RECIPES / "starter.jsonl").read_text().splitlines()

    rows = list(read_source(name, source, RECIPES))

    told = [(row["instruction"], row["input"], row["response"]) for row in map(json.loads, lines)]
    assert [(row.instruction, row.input, row.response) for row in rows] == told


def test_mbpp_recipe_reads_the_published_training_rows(published, monkeypatch):
    monkeypatch.setenv("CODELADDER_DATA", str(published))
    ((name, source),) = sources_of("mbpp").items()

    rows = list(read_source(name, source, RECIPES))

    assert len(rows) == 374  # of the paper, Austin et al. 2021, section 2.1
    assert all(isinstance(row, Row) and row.tests for row in rows)
