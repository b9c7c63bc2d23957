"""Answers from anywhere: formats on real files where they are here, else as it is documented."""

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from eval_sandbox.benchmarks import read_problems
from eval_sandbox.problem import Problem, Script
from jobs.declared import UserError
from jobs.imports import evalplus
from jobs.imports.fields import parse_fields
from jobs.imports.found import truth
from jobs.imports.reading import Import, format_of, read_answers

LDB = {
    "humaneval_codellama_seed": (164, 81),
    "humaneval_codellama_ldb_results": (164, 91),
    "humaneval_starcoder_seed": (164, 64),
    "humaneval_starcoder_ldb_results": (164, 65),
    "humaneval_gpt-3.5-turbo-0613_seed": (164, 121),
    "humaneval_gpt-3.5-turbo-0613_ldb_results": (164, 136),
    "mbpp_codellama_seed": (500, 256),
    "mbpp_codellama_ldb_results": (500, 287),
    "mbpp_starcoder_seed": (500, 258),
    "mbpp_starcoder_ldb_results": (500, 277),
    "mbpp_gpt-3.5-turbo-0613_seed": (500, 338),
    "mbpp_gpt-3.5-turbo-0613_ldb_results": (500, 380),
}
"""Answers, and those that LDB says are solved: counted with zcat and grep."""
EVALPLUS = {
    "starcoder2-15b-instruct-v0.1/humaneval": ("humanevalplus", 164, 104, 0),
    "starcoder2-15b-instruct-v0.1/mbpp": ("mbppplus", 378, 236, 21),
    "codeup-llama3-8b-lora/humaneval": ("humanevalplus", 164, 66, 0),
    "codeup-llama3-8b-lora/mbpp": ("mbppplus", 378, 119, 21),
}
"""Benchmark, answers to its problems, those that pass base and plus, answers to other problems."""
FILES = {
    "humaneval": "HumanEval.jsonl.gz",
    "mbpp": "mbpp.jsonl",
    "humanevalplus": "HumanEvalPlus.jsonl.gz",
    "mbppplus": "MbppPlus.jsonl.gz",
}
DOUBLE = Problem(
    task_id="HumanEval/0",
    instruction="def double(x):\n",
    prompt="def double(x):\n",
    entry_point="double",
    tests=(Script(source="def check(f):\n    assert f(2) == 4\ncheck(double)"),),
)
HALF = Problem(
    task_id="HumanEval/1",
    instruction="def half(x):\n",
    prompt="def half(x):\n",
    entry_point="half",
    tests=(Script(source="def check(f):\n    assert f(2) == 1\ncheck(half)"),),
)


def problems_of(published, benchmark):
    path = next(published.rglob(FILES[benchmark]))
    return read_problems(benchmark, path, "test" if benchmark == "mbpp" else "")


def answers(path, problems=(DOUBLE, HALF), benchmark="humaneval", **more):
    order = Import(files=(path,), name="somebody", benchmark=benchmark, **more)
    return read_answers(order, format_of(order), problems, benchmark)


def lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize("name", LDB)
def test_every_answer_of_ldb_is_read_with_its_verdict(name, published):
    file = published / "samples" / "ldb" / f"{name}.jsonl.gz"
    benchmark = name.split("_")[0]
    asked, solved = LDB[name]

    read = answers(file, problems_of(published, benchmark), benchmark)

    assert format_of(Import(files=(file,), name="")) == "ldb"
    assert Counter(one.passed for one in read.found) == {True: solved, False: asked - solved}
    assert len({one.problem.task_id for one in read.found}) == asked
    assert all(one.whole for one in read.found)


def test_where_ldb_was_judged_by_other_tests_the_verdict_says_so(published):
    file = published / "samples" / "ldb" / "mbpp_codellama_seed.jsonl.gz"

    read = answers(file, problems_of(published, "mbpp"), "mbpp")

    said = {one.problem.task_id: one.said for one in read.found if one.said}
    assert set(said) == {"MBPP/56", "MBPP/349", "MBPP/436"}
    assert "other tests" in said["MBPP/436"]


@pytest.mark.parametrize("name", EVALPLUS)
def test_every_sample_of_evalplus_is_read_with_the_verdict_beside_it(name, published):
    benchmark, asked, passed, skipped = EVALPLUS[name]
    file = published / "samples" / f"{name}.jsonl.gz"

    read = answers(file, problems_of(published, benchmark), benchmark)

    assert Counter(one.passed for one in read.found) == {True: passed, False: asked - passed}
    assert sum(read.left_out.values()) == skipped
    assert ("line 38: the benchmark has no problem 'Mbpp/83'" in read.unknown) == bool(skipped)


def test_the_results_of_evalplus_alone_hold_the_same_verdicts(published):
    folder = published / "samples" / "codeup-llama3-8b-lora"
    asked = problems_of(published, "humanevalplus")

    alone = answers(folder / "humaneval_eval_results.json.gz", asked, "humanevalplus")
    beside = answers(folder / "humaneval.jsonl.gz", asked, "humanevalplus")

    assert {one.problem.task_id: one.passed for one in alone.found} == {
        one.problem.task_id: one.passed for one in beside.found
    }


def test_answers_of_codet_find_their_problems_by_prompt(published):
    file = published / "samples" / "codet_codegen16B_HumanEval_n100.jsonl.gz"
    with gzip.open(file, "rt") as rows:
        prompts = [json.loads(row)["prompt"] for row in rows]

    read = answers(file, problems_of(published, "humaneval"))

    assert len(read.found) == 16_400
    assert set(Counter(one.problem.task_id for one in read.found).values()) == {100}
    for prompt, one in zip(prompts, read.found[::100], strict=True):
        theirs, ours = (set(re.findall(r"\w+", text)) for text in (prompt, one.problem.prompt))
        assert len(theirs - ours) <= 0.1 * len(theirs), one.problem.task_id


def test_human_eval_says_beside_each_answer_whether_it_passed(tmp_path):
    file = lines(
        tmp_path / "samples.jsonl_results.jsonl",
        {
            "task_id": "HumanEval/0",
            "completion": "    return 2 * x",
            "result": "passed",
            "passed": True,
        },
        {
            "task_id": "HumanEval/1",
            "completion": "    1/0",
            "result": "failed: division by zero",
            "passed": False,
        },
        {"task_id": "HumanEval/7", "completion": "", "result": "passed", "passed": True},
    )

    read = answers(file)

    assert [(one.passed, one.said) for one in read.found] == [
        (True, "passed"),
        (False, "failed: division by zero"),
    ]
    assert list(read.left_out.values()) == [1]
    assert "line 3: the benchmark has no problem 'HumanEval/7'" in read.unknown


def results_of(*statuses):
    """`_eval_results.json` for answers to HumanEval/0, as evalplus 0.3.1 writes it."""
    rows = [
        {
            "task_id": "HumanEval/0",
            "solution": f"{DOUBLE.prompt}    return {number}",
            "base_status": base,
            "plus_status": plus,
            "base_fail_tests": [],
            "plus_fail_tests": [[2]],
        }
        for number, (base, plus) in enumerate(statuses)
    ]
    return {"date": "2024-04-26 12:01", "hash": "84f4b93a", "eval": {"HumanEval/0": rows}}


STATUSES = [("pass", "pass"), ("pass", "fail"), ("fail", "pass"), ("timeout", "timeout")]


@pytest.mark.parametrize(
    "benchmark, passed",
    [("humanevalplus", [True, False, False, False]), ("humaneval", [True, True, False, False])],
)
def test_plus_is_base_and_plus_and_a_plain_benchmark_is_base_alone(benchmark, passed, tmp_path):
    given = [{"task_id": "HumanEval/0", "completion": f"    return {n}"} for n in range(4)]
    file = lines(tmp_path / "model.jsonl", *given)
    (tmp_path / "model_eval_results.json").write_text(json.dumps(results_of(*STATUSES), indent=1))

    read = answers(file, benchmark=benchmark)

    assert [one.passed for one in read.found] == passed


def test_a_verdict_on_another_answer_is_not_taken_for_one_on_this(tmp_path):
    file = lines(tmp_path / "model.jsonl", {"task_id": "HumanEval/0", "completion": "    pass"})
    beside = tmp_path / "elsewhere.json"
    beside.write_text(json.dumps(results_of(("pass", "pass"))))

    read = answers(file, format="evalplus", verdicts=beside)

    assert [one.passed for one in read.found] == [None]
    assert list(read.left_out) == ["verdicts, as they are on other answers"]


def test_verdicts_make_samples_evalplus_and_are_refused_with_any_other_format(tmp_path):
    file = lines(tmp_path / "model.jsonl", {"task_id": "HumanEval/0", "completion": "    return 0"})
    beside = tmp_path / "elsewhere.json"
    beside.write_text(json.dumps(results_of(("pass", "pass"))))

    assert [one.passed for one in answers(file, verdicts=beside).found] == [True]
    for more in ({"format": "completions"}, {"fields": {"task_id": "task_id"}}):
        with pytest.raises(UserError, match="--verdicts is for --format evalplus, not for"):
            answers(file, verdicts=beside, **more)


SAID = {
    True: ["Accepted", "PASS", "passed", 1, True, "ok"],
    False: ["Wrong Answer", "TLE", "Time Limit Exceeded", "runtime_error", "failed: why", "0"],
    None: ["", "pending", 0.5, None, ["pass"]],
}


@pytest.mark.parametrize("meant", SAID)
def test_a_verdict_is_understood_in_the_words_of_other_judges(meant):
    understood = {str(said): truth(said) for said in SAID[meant]}

    assert understood == dict.fromkeys(map(str, SAID[meant]), meant)


def test_an_empty_prompt_is_not_taken_for_the_first_problem_without_one(tmp_path):
    bare = Problem(task_id="a", instruction="Add.", prompt="", entry_point="f", tests=())
    file = lines(tmp_path / "codet.jsonl", {"prompt": "", "samples": ["x"]})

    with pytest.raises(UserError, match="has no problem ''"):
        answers(file, (bare,))


def test_results_of_an_older_evalplus_are_refused_in_words(tmp_path):
    file = tmp_path / "m_eval_results.json"
    file.write_text(json.dumps({"eval": {"HumanEval/0": {"nfiles": 1, "base": [["success", []]]}}}))

    with pytest.raises(UserError, match="older versions wrote another form"):
        answers(file)


def test_bigcode_goes_by_position_and_its_answers_are_whole_programs(tmp_path):
    file = tmp_path / "generations.json"
    file.write_text(json.dumps([["def double(x):\n    return 2*x", "def double(x): pass"], ["h"]]))

    read = answers(file)

    assert [(one.problem.task_id, one.whole) for one in read.found] == [
        ("HumanEval/0", True),
        ("HumanEval/0", True),
        ("HumanEval/1", True),
    ]


def test_more_lists_than_problems_cannot_be_told_apart_by_position(tmp_path):
    file = tmp_path / "generations.json"
    file.write_text(json.dumps([["a"], ["b"], ["c"]]))

    with pytest.raises(UserError, match="answers to 3 problems, but the benchmark has 2"):
        answers(file)


def sample(doc_id, *texts, **more):
    """A line of lm-evaluation-harness's samples_humaneval_*.jsonl."""
    doc = {"task_id": f"HumanEval/{doc_id}", "prompt": (DOUBLE, HALF)[doc_id].prompt}
    return {
        "doc_id": doc_id,
        "doc": doc | {"test": "def check(candidate): ...", "entry_point": "double"},
        "target": "check(double)",
        "arguments": {"gen_args_0": {"arg_0": doc["prompt"], "arg_1": {"until": ["\ndef"]}}},
        "resps": [list(texts)],
        "filtered_resps": [[doc["prompt"] + text for text in texts]],
        "filter": "create_test",
        "metrics": ["pass@1"],
    } | more


def test_lm_eval_has_its_answers_in_lists_and_one_metric_for_a_problem(tmp_path):
    file = lines(
        tmp_path / "samples_humaneval_2026-01-01T00-00-00.jsonl",
        sample(0, "    return 2 * x", "    return x + x", **{"pass@1": 1.0}),
        sample(1, "    return x", "    return x / 2", **{"pass@1": 0.5}),
        sample(0, "    return 2 * x", filter="another", **{"pass@1": 1.0}),
    )

    read = answers(file)

    assert [(one.problem.task_id, one.whole, one.passed) for one in read.found] == [
        ("HumanEval/0", True, True),
        ("HumanEval/0", True, True),
        ("HumanEval/1", True, None),
        ("HumanEval/1", True, None),
    ]
    assert dict(read.left_out) == {"of other filters": 1}


def test_a_raw_answer_of_lm_eval_continues_the_prompt(tmp_path):
    raw = sample(1, "    return x / 2", filter="none", filtered_resps=["    return x / 2"])

    (one,) = answers(lines(tmp_path / "samples.jsonl", raw)).found

    assert (one.text, one.whole) == ("    return x / 2", False)


def test_can_ai_code_is_read_in_python_with_the_code_that_was_judged(tmp_path):
    asked = (Problem(task_id="GCD", instruction="", prompt="", entry_point="gcd", tests=()),)
    row = {"name": "GCD", "language": "python", "answer": "Sure:\n```python\ndef gcd(): ...\n```"}
    file = lines(
        tmp_path / "eval_junior.ndjson",
        row | {"code": "def gcd(): ...", "status": "PASS", "passed": 5, "total": 5},
        row | {"language": "javascript"},
        row,
    )

    read = answers(file, asked, "can-ai-code")

    assert [(one.text, one.passed, one.said) for one in read.found] == [
        ("def gcd(): ...", True, "5 of 5 checks"),
        (row["answer"], None, ""),
    ]
    assert dict(read.left_out) == {"in other languages than Python": 1}


def test_any_json_lines_are_read_by_a_mapping(tmp_path):
    record = {"doc": {"id": 1}, "out": [{"code": ["def half(x): return x / 2", "x"]}], "ok": [1, 0]}
    fields = parse_fields("task_id=doc.id, solution=out.0.code, passed=ok")

    read = answers(lines(tmp_path / "mine.jsonl", record), fields=fields)

    assert [(one.problem.task_id, one.text, one.passed) for one in read.found] == [
        ("HumanEval/1", "def half(x): return x / 2", True),
        ("HumanEval/1", "x", False),
    ]


MAPPINGS = {
    "task_id=id,soluton=code": "no 'soluton'. Did you mean 'solution'?",
    "solution=code": "name 'task_id', or 'prompt'",
    "task_id=id": "name 'completion'",
    "task_id=id,completion=a,solution=b": "name 'completion'",
    "task_id=,solution=code": "task_id has no place",
}


@pytest.mark.parametrize("text, said", MAPPINGS.items(), ids=MAPPINGS)
def test_a_mapping_that_cannot_be_used_is_refused(text, said):
    with pytest.raises(UserError, match=re.escape(said)):
        parse_fields(text)


def test_an_unknown_format_is_told_by_the_fields_that_are_there(tmp_path):
    file = lines(tmp_path / "mine.jsonl", {"task_id": 1, "code": "x", "is_solved": True})

    with pytest.raises(
        UserError, match="'code', 'is_solved', 'task_id'; the nearest format is"
    ) as e:
        format_of(Import(files=(file,), name=""))
    assert "'ldb'" in str(e.value)
    assert "--fields" in str(e.value)


GUESSED = {
    "completions": [{"task_id": "HumanEval/0", "completion": "x", "model": "m"}],
    "human-eval": [{"task_id": "HumanEval/0", "completion": "x", "passed": False}],
    "codet": [{"prompt": "def double(x):", "samples": ["x"]}],
    "lm-eval": [sample(0, "x")],
    "ldb": [{"task_id": "HumanEval/0", "solution": "x", "is_solved": True, "test": ""}],
    "can-ai-code": [{"name": "GCD", "language": "python", "answer": "x", "model": "m"}],
}


@pytest.mark.parametrize("form", GUESSED)
@pytest.mark.parametrize("packed", [False, True])
def test_the_first_record_tells_the_format(form, packed, tmp_path):
    file = lines(tmp_path / "answers", *GUESSED[form])
    if packed:
        file.write_bytes(gzip.compress(file.read_bytes()))

    assert format_of(Import(files=(file,), name="")) == form


HOSTILE = {
    "no JSON": (b"\x00\xff\xfe", "UTF-8"),
    "nested too deep": (b"[" * 100_000, "not JSON"),
    "a list of numbers": (b'{"task_id": 0, "completion": "x"}\n[1]\n', "line 2: an object"),
    "an id that is a list": (b'{"task_id": [0], "completion": "x"}\n', "line 1: field 'task_id'"),
    "an answer that is a number": (
        b'{"task_id": 0, "completion": 4}\n',
        "line 1: field 'completion'",
    ),
    "two answers": (b'{"task_id": 0, "completion": "", "solution": ""}\n', "line 1: both"),
    "nothing": (b"", "nothing in it"),
    "a damaged archive": (gzip.compress(b'{"task_id": 0}' * 99)[:-20], "damaged"),
}


@pytest.mark.parametrize("content, said", HOSTILE.values(), ids=HOSTILE)
def test_a_file_with_mistakes_ends_in_a_message_when_it_holds(content, said, tmp_path):
    file = tmp_path / "answers.jsonl"
    file.write_bytes(content)

    with pytest.raises(UserError, match=said):
        answers(file, format="completions")


def test_a_packed_line_without_an_end_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("eval_sandbox.records._LARGEST", 1 << 16)
    file = tmp_path / "answers.jsonl.gz"
    file.write_bytes(gzip.compress(b'{"task_id": "' + b"x" * (1 << 20)))

    with pytest.raises(UserError, match="line 1: longer than"):
        answers(file, format="completions")


def test_results_beside_samples_are_found_by_name(tmp_path):
    results = tmp_path / "model_eval_results.json.gz"
    results.touch()

    assert evalplus.verdicts_beside(tmp_path / "model.jsonl.gz") == results
    assert evalplus.verdicts_beside(Path(tmp_path / "other.jsonl")) is None
