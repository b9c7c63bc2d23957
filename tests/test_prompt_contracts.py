"""How problems are asked, beside what was published: the words, the files, the mistakes."""

import json
import shutil

import pytest
import yaml
from small_tokenizers import CHATML, LLAMA_2, ZEPHYR, pieces, starter

from eval_sandbox.benchmarks import read_problems
from eval_sandbox.contract import Judging
from eval_sandbox.judge import assemble
from eval_sandbox.problem import Completion, Problem
from jobs import prompt_contracts
from jobs.declared import UserError
from jobs.experiment import Asking, Benchmark
from jobs.loading import load
from jobs.prompt_contracts import PROMPTS, PromptContract, read_prompt
from jobs.prompts import question
from jobs.recipes import BENCH, BenchmarkRecipe, read_recipe

NAMES = sorted(path.stem for path in PROMPTS.glob("*.yaml"))
ALPACA = (  # prompt_no_input of templates/alpaca.json, github.com/tloen/alpaca-lora
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n%s\n\n### Response:\n"
)
SIGNATURE = "def add(a, b):\n"
TESTS = "assert add(1, 2) == 3\nassert add(0, 0) == 0"


def problem(prompt="", tests="", instruction="Add {two} numbers."):
    return Problem(
        task_id="1",
        instruction=instruction,
        prompt=prompt,
        entry_point="add",
        tests=(),
        extra={"tests": tests} if tests else {},
    )


SHOWN = f"Add {{two}} numbers.\nYour code should pass these tests:\n{TESTS}"
LETTERS = {
    "alpaca": ("alpaca", problem(), ALPACA % "Add {two} numbers.", True),
    "alpaca of a signature": ("alpaca", problem(SIGNATURE), ALPACA % "Add {two} numbers.", True),
    "alpaca with tests": ("alpaca", problem(tests=TESTS), ALPACA % SHOWN, True),
    "a signature begun": (
        "alpaca-signature",
        problem(SIGNATURE, TESTS),
        ALPACA % SHOWN + "def add(a, b):",
        False,
    ),
    "no signature to begin": ("alpaca-signature", problem(tests=TESTS), ALPACA % SHOWN, True),
    "code to go on from": ("completion", problem(SIGNATURE, TESTS), SIGNATURE, False),
    "no code to go on from": ("completion", problem(tests=TESTS), ALPACA % SHOWN, True),
}


@pytest.mark.parametrize("name, asked, text, whole", LETTERS.values(), ids=LETTERS)
def test_the_letters_of(name, asked, text, whole):
    put = question(asked, read_prompt(name))

    assert (put.text, put.whole, put.templated, put.stop) == (text, whole, False, "")


@pytest.mark.parametrize("template", [CHATML, ZEPHYR, LLAMA_2], ids=["ChatML", "Zephyr", "Llama 2"])
@pytest.mark.parametrize("name, begun", [("chat", ""), ("chat-signature", "def add(a, b):")])
def test_a_chat_is_asked_as_transformers_renders_it(name, begun, template):
    tokenizer = pieces(template)
    turns = [{"role": "user", "content": SHOWN}]
    opened = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    turns.append({"role": "assistant", "content": "def add(a, b):<end>"})
    answered = tokenizer.apply_chat_template(turns, tokenize=False).partition("<end>")[0]

    put = question(problem(SIGNATURE, TESTS), read_prompt(name), tokenizer)

    assert put.text == (answered if begun else opened)
    assert (put.whole, put.templated) == (not begun, True)


def test_mbpp_is_asked_with_the_three_examples_of_its_authors(published, monkeypatch):
    monkeypatch.setenv("CODELADDER_DATA", str(published))
    file = published / "bench" / "mbpp.jsonl"
    rows = {row["task_id"]: row for row in map(json.loads, file.read_text().splitlines())}
    # mbpp/README.md of github.com/google-research/google-research
    words = (
        "You are an expert Python programmer, and here is your task: {prompt} Your code should "
        "pass these tests:\n\n{tests}\n[BEGIN]\n{code}\n[DONE]"
    )
    *shown, asked = [
        words.replace("{prompt}", rows[n]["text"])
        .replace("{tests}", "\n".join(rows[n]["test_list"]))
        .replace("{code}", rows[n]["code"].replace("\r\n", "\n"))
        for n in (2, 3, 4, 11)
    ]
    eleven = read_problems("mbpp", file, "test")[0]

    put = question(eleven, read_prompt("mbpp-3-shot"))

    assert put.text == "\n\n".join([*shown, asked.partition("[BEGIN]\n")[0] + "[BEGIN]\n"])
    assert put.whole
    assert read_prompt("mbpp-3-shot").contract.stop == ("[DONE]",)


def test_examples_whose_file_is_not_here_are_told_of(monkeypatch):
    monkeypatch.delenv("CODELADDER_DATA", raising=False)
    missing = []

    prompt = read_prompt("mbpp-3-shot", missing)

    assert prompt.examples == ()
    assert "mbpp.jsonl was not found" in missing[0]
    with pytest.raises(UserError, match=r"mbpp\.jsonl was not found"):
        read_prompt("mbpp-3-shot")


PLUS = {"humanevalplus": "HumanEvalPlus.jsonl.gz", "mbppplus": "MbppPlus.jsonl.gz"}


@pytest.mark.parametrize("benchmark", PLUS)
def test_evalplus_is_asked_in_its_words(published, benchmark):
    # evalplus 0.3.1: run_codegen names the prefixes, make_raw_chat_prompt joins them
    asked = read_problems(benchmark, published / "bench" / PLUS[benchmark])[-1]
    code = asked.reference if asked.prompt == "" else asked.prompt
    shown = code[: code.rindex('"""') + 3].strip()  # the file's prompt ends with its docstring
    tokenizer = starter("llama", CHATML)
    turns = [
        {
            "role": "user",
            "content": "Please provide a self-contained Python script that solves the following "
            f"problem in a markdown code block:\n```\n{shown}\n```\n",
        },
        {
            "role": "assistant",
            "content": "Below is a Python script with a self-contained function that solves the "
            "problem and passes corresponding tests:\n```python\n<end>\n```\n",
        },
    ]
    rendered = tokenizer.apply_chat_template(turns, tokenize=False).partition("<end>")[0]

    put = question(asked, read_prompt("evalplus"), tokenizer)

    assert put.text == rendered
    assert put.whole


@pytest.mark.parametrize("benchmark", PLUS)
def test_evalplus_asks_a_base_for_all_that_stands_in_the_file(published, benchmark):
    name = f"evalplus-base-{benchmark.removesuffix('plus')}"
    for asked in read_problems(benchmark, published / "bench" / PLUS[benchmark])[:40]:
        code = asked.prompt or asked.reference
        shown = code[: code.rindex('"""') + 3] if not asked.prompt else code

        put = question(asked, read_prompt(name))

        assert put.text == shown.strip() + "\n"
        assert put.whole is (benchmark == "mbppplus")


ENDINGS = {
    "the fence is closed": "\n```",
    "the answer is cut off": "",
    "the model goes on": "\n```\n\nThis adds two numbers.",
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_code_is_found_in_an_answer_that_begins_inside_a_fence_and(ending):
    asked = problem(SIGNATURE)
    program = "import math\n\ndef add(a, b):\n    return a + b"

    found = assemble(
        asked,
        Completion(task_id="1", text=program + ending, whole=True),
        Judging(extract=read_prompt("evalplus").contract.extract),
    )

    namespace = {}
    exec(found, namespace)
    assert namespace["add"](1, 2) == 3


@pytest.mark.parametrize("name", NAMES)
def test_a_contract_is_named_described_and_says_where_it_was_published(
    name, published, monkeypatch
):
    monkeypatch.setenv("CODELADDER_DATA", str(published))
    prompt = read_prompt(name)

    assert prompt.contract.description
    assert prompt.contract.reference
    assert f"| `{name}` |" in (PROMPTS.parents[1] / "docs" / "asking.md").read_text()


@pytest.mark.parametrize("path", sorted(BENCH.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_benchmark_names_a_contract_that_suits_it(path):
    recipe = read_recipe(BenchmarkRecipe, BENCH, path.stem)

    assert read_prompt(recipe.prompt, []).unaskable(recipe.benchmark, []) == ""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write contracts of one's own beside the shipped ones; returns how."""
    folder = tmp_path / "prompts"
    shutil.copytree(PROMPTS, folder)
    monkeypatch.setattr(prompt_contracts, "PROMPTS", folder)

    def write(name="mine", **changes):
        content = {"description": "d", "version": 1, "reference": "ours", "text": "{question}\n"}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content | changes))
        return read_prompt(name)

    return write


def test_braces_of_the_text_are_written_twice(written):
    put = question(problem(), written(text="{{x}} {instruction}"))

    assert put.text == "{x} Add {two} numbers."


WRONG = {
    "an unknown word": ({"text": "{instuction}"}, "no {instuction}. Did you mean 'instruction'?"),
    "a word of a word": ({"text": "{prompt.upper}"}, "there is no {prompt.upper}"),
    "an unknown extraction": ({"extract": "fence"}, "no 'fence'. Did you mean 'fenced'?"),
    "an unknown key": ({"shot": {}}, "shot: unknown key. Did you mean 'shots'?"),
    "no version": ({"version": 0}, "version: Input should be greater than or equal to 1"),
}


@pytest.mark.parametrize("change, message", WRONG.values(), ids=WRONG)
def test_a_contract_is_refused_for(change, message, written):
    with pytest.raises(UserError) as caught:
        written(**change)

    assert message in str(caught.value)


def test_an_example_that_its_file_lacks_is_refused(written):
    shots = {"benchmark": "starter", "task_ids": ["starter/9999"], "closing": "\n"}

    with pytest.raises(
        UserError, match=r"mine\.yaml: starter\.jsonl has no problem 'starter/9999'"
    ):
        written(shots=shots)


@pytest.fixture
def experiment(tmp_path):
    """Write an experiment that asks the starter benchmark, and read it."""

    def read(**asking):
        path = tmp_path / "mine.yaml"
        models = {"llama": {"path": "models/starter/llama"}}
        path.write_text(
            yaml.safe_dump({"models": models, "benchmarks": {"starter": {"problems": 2, **asking}}})
        )
        return load(path)

    return read


def test_an_experiment_asks_by_its_own_contract_and_not_by_the_recipes(experiment):
    (usual,) = experiment().benchmarks
    (other,) = experiment(prompt="completion").benchmarks

    assert (usual.prompt.name, other.prompt.name) == ("alpaca-signature", "completion")
    assert usual.stop == usual.recipe.stop
    assert other.stop == ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
    assert usual.asking_content != other.asking_content


def test_code_is_looked_for_as_the_contract_of_an_experiment_needs_it(experiment):
    (usual,) = experiment().benchmarks
    (other,) = experiment(prompt="alpaca").benchmarks

    assert (usual.judging.extract, other.judging.extract) == ("none", "chat")
    assert other.judging.limits == usual.judging.limits
    assert other.judging_content["extract"] == "chat"


def test_what_the_recipe_chooses_holds_for_its_own_contract():
    recipe = read_recipe(BenchmarkRecipe, BENCH, "mbpp")
    asked = {
        name: Benchmark(
            name="mbpp", recipe=recipe, asking=Asking(), problems=(), prompt=read_prompt(name, [])
        )
        for name in ("alpaca", "mbpp-3-shot")
    }

    assert asked["alpaca"].stop == recipe.stop != ()
    assert asked["mbpp-3-shot"].stop == ("[DONE]",)
    assert [b.judging.extract for b in asked.values()] == ["fenced", "none"]


REFUSED = {
    "an unknown name": (
        "alpca",
        "benchmarks.starter: 'alpca' has no datasets/prompts/alpca.yaml. Did you mean 'alpaca'?",
    ),
    "a contract of another benchmark": (
        "evalplus",
        "benchmarks.starter: prompt: evalplus is made for humaneval, humanevalplus, mbppplus, and "
        "this benchmark is custom",
    ),
    "a chat without a template": (
        "chat",
        "its tokenizer has no chat template, so it has no prompt form `chat`.",
    ),
}


@pytest.mark.parametrize("name, message", REFUSED.values(), ids=REFUSED)
def test_before_anything_runs_is_refused(name, message, experiment):
    with pytest.raises(UserError) as caught:
        experiment(prompt=name)

    assert message in str(caught.value)


def test_words_that_a_problem_lacks_are_refused_with_the_problem(written, experiment):
    written(text="{instruction}\n{tests}\n")

    with pytest.raises(UserError, match=r"mine puts \{tests\}, and problem \S+ has none"):
        experiment(prompt="mine")


def test_an_example_that_is_asked_too_is_refused(written, experiment):
    first = read_problems("custom", BENCH / "starter.jsonl")[0].task_id
    written(shots={"benchmark": "starter", "task_ids": [first], "closing": "\n"})

    with pytest.raises(UserError, match=f"mine shows the solution of {first}, which is asked too"):
        experiment(prompt="mine")


SHAPING = {
    "its text": {"text": "{question}\n\n"},
    "how the answer begins": {"answer": "def"},
    "its version": {"version": 2},
    "its stop strings": {"stop": ["\n\n"]},
    "a worked example": {"shots": {"benchmark": "starter", "task_ids": ["first"], "closing": "\n"}},
}


@pytest.mark.parametrize("change", SHAPING.values(), ids=SHAPING)
def test_another_asking_contract_comes_of(change, written, experiment):
    for shots in [change["shots"]] if "shots" in change else []:
        shots["task_ids"] = [read_problems("custom", BENCH / "starter.jsonl")[-1].task_id]
    written()
    before = experiment(prompt="mine").benchmarks[0].asking_content
    written(**change)

    assert experiment(prompt="mine").benchmarks[0].asking_content != before


@pytest.mark.parametrize(
    "change", [{"description": "other words"}, {"reference": "there"}, {"extract": "chat"}]
)
def test_no_model_is_asked_again_for(change, written, experiment):
    written()
    before = experiment(prompt="mine").benchmarks[0].asking_content
    written(**change)

    assert experiment(prompt="mine").benchmarks[0].asking_content == before


def test_every_key_of_a_contract_is_documented():
    page = (PROMPTS.parents[1] / "docs" / "asking.md").read_text()

    assert [key for key in PromptContract.model_fields if f"`{key}`" not in page] == []
