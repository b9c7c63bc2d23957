"""What models are trained on and asked, beside what was published and what transformers renders."""

import shutil
from dataclasses import replace

import pytest
from small_tokenizers import CHATML, CODE, LLAMA_2, STARTER, ZEPHYR, pieces, row, starter
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from eval_sandbox.problem import Problem
from jobs.engine import Loaded, generate, load_model
from jobs.experiment import Asking
from jobs.generation import rows
from jobs.loading import load
from jobs.prompt_contracts import read_prompt
from jobs.prompts import (
    TODAY,
    PromptError,
    Question,
    alpaca,
    end_of_turn,
    text_of,
    tokenizer_for,
)
from jobs.prompts import question as put
from jobs.stages import ask_order
from jobs.tokens import asked_tokens, tokenise
from jobs.training.models import save
from jobs.weights import Weights

TEMPLATES = {"ChatML": CHATML, "Zephyr": ZEPHYR, "Llama 2": LLAMA_2}


def problem(instruction="Add two numbers.", prompt=""):
    return Problem(task_id="1", instruction=instruction, prompt=prompt, entry_point="add", tests=())


def question(problem, name, tokenizer=None):
    return put(problem, read_prompt(name), tokenizer)


TOKENIZERS = {
    "falcon": lambda template=CHATML: starter("falcon", template),
    "llama": lambda template=CHATML: starter("llama", template),
    "mistral": lambda template=CHATML: starter("mistral", template),
    "sentencepiece": pieces,
    "sentencepiece that ends texts": lambda template=LLAMA_2: pieces(template, ends=True),
}


def test_the_alpaca_prompt_is_the_published_one():
    # PROMPT_DICT of train.py, github.com/tatsu-lab/stanford_alpaca, letter for letter
    stanford = (
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{instruction}\n\n### Response:"
    )
    # and prompt_no_input of templates/alpaca.json, github.com/tloen/alpaca-lora, adds a line break
    assert alpaca("Add.") == stanford.format(instruction="Add.") + "\n"


def test_the_alpaca_prompt_with_input_is_the_published_one():
    stanford = (
        "Below is an instruction that describes a task, paired with an input that provides further "
        "context. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
    )

    assert alpaca("Add.", "1 2") == stanford.format(instruction="Add.", input="1 2") + "\n"


def test_braces_in_an_instruction_stay_as_they_are():
    assert "### Instruction:\nReturn {} and {input}.\n" in alpaca("Return {} and {input}.", "{x}")


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_a_chat_row_is_the_conversation_as_transformers_renders_it(tokenizer, template):
    tokenizer = tokenizer(template)
    asked = [{"role": "user", "content": "Add two numbers.\n1 2"}]
    answered = [*asked, {"role": "assistant", "content": CODE}]

    text = text_of(row(), "chat", tokenizer)

    assert text.prompt == tokenizer.apply_chat_template(
        asked, tokenize=False, add_generation_prompt=True
    )
    whole = tokenizer.apply_chat_template(answered, tokenize=False)
    assert text.prompt + text.response + text.closing == whole.rstrip()


FORMS = {
    "alpaca": ("alpaca", "alpaca", ""),
    "alpaca-signature": ("alpaca", "alpaca-signature", "def add(a, b):"),
    "chat": ("chat", "chat", ""),
    "chat-signature": ("chat", "chat-signature", "def add(a, b):"),
    "completion": ("plain", "completion", "def add(a, b):"),
}


@pytest.mark.parametrize("trained, asked, signature", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_the_tokens_asked_begin_the_tokens_trained_on(tokenizer, trained, asked, signature):
    tokenizer = tokenizer()
    (learnt,) = tokenise([row(given="")], tokenizer, 1000, trained).rows

    put = question(problem(prompt=signature), asked, tokenizer)
    (tokens,) = asked_tokens(tokenizer, [put.text], templated=put.templated)

    assert learnt.tokens[: len(tokens)].tolist() == tokens
    assert put.whole or learnt.prompt_length < len(tokens)
    assert not put.whole or learnt.prompt_length == len(tokens)
    assert tokenizer.decode(learnt.tokens[learnt.prompt_length :]).startswith("def add")


@pytest.mark.parametrize("instruction", ["", "Add."], ids=["no instruction", "an instruction"])
def test_plain_text_is_the_response_alone(instruction):
    text = text_of(row(instruction=instruction, given=""), "plain")

    assert (text.prompt, text.response, text.closing) == ("", CODE, "")


@pytest.mark.parametrize("form", ["alpaca", "chat"])
def test_a_row_without_a_question_is_plain_code_in_every_form(form):
    tokenizer = starter("llama")

    assert text_of(row("", ""), form, tokenizer) == text_of(row("", ""), "plain")


def test_a_tokenizer_without_a_chat_template_is_refused_before_its_model_is_loaded():
    with pytest.raises(PromptError, match=r"llama: its tokenizer has no chat template.*`alpaca`"):
        tokenizer_for(read_prompt("chat-signature"), str(STARTER / "llama"), None)


def test_forms_that_need_no_tokenizer_load_none():
    assert tokenizer_for(read_prompt("alpaca-signature"), "no/such/model", None) is None


WRONG = {
    "raises": ("{{ raise_exception('system first') }}", "its chat template fails: system first"),
    "drops answers": ("{{ messages[0]['content'] }}", "words a question otherwise"),
    "rewords": (
        "{% for m in messages %}{{ messages | length ~ m['content'] }}{% endfor %}",
        "words a question otherwise",
    ),
}


@pytest.mark.parametrize("template, reason", WRONG.values(), ids=WRONG)
def test_a_template_that_cannot_be_trained_on_is_refused(template, reason):
    with pytest.raises(PromptError, match=reason):
        question(problem(), "chat", starter("llama", template))
    assert end_of_turn(starter("llama", template)) is None


def test_a_model_that_thinks_first_is_asked_with_its_thoughts_left_empty():
    # Qwen3: the last answer of a conversation has empty thoughts, its generation prompt has none.
    template = CHATML.replace(
        "'\n' + m['content']",
        "'\n' + ('<think>\n\n</think>\n\n' if m['role'] == 'assistant' else '') + m['content']",
    )

    text = text_of(row(given=""), "chat", starter("llama", template))

    assert text.prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert text.response == CODE


def test_thoughts_that_a_generation_prompt_opens_are_not_opened():
    # DeepSeek-R1: its generation prompt opens the thoughts, an answer in a conversation has none.
    template = CHATML.replace("assistant\n' }}", "assistant\n<think>\n' }}")

    text = text_of(row(given=""), "chat", starter("llama", template))

    assert text.prompt.endswith("<|im_start|>assistant\n")
    assert text.response + text.closing == CODE + "<|im_end|>"


def test_a_template_that_tells_the_date_says_the_same_on_every_day():
    template = "{{ 'Today: ' + strftime_now('%Y-%m-%d') + '\n' }}" + CHATML

    text = text_of(row(given=""), "chat", starter("llama", template))

    assert text.prompt.startswith(f"Today: {TODAY}\n<|im_start|>user\nAdd two numbers.")


def test_the_start_of_a_text_stands_once_in_a_chat():
    tokenizer = pieces()
    turns = [{"role": "user", "content": "Add two numbers."}]
    expected = tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    loaded = Loaded(
        model=AutoModelForCausalLM.from_config(config).eval(),
        tokenizer=tokenizer,
        device=AutoModelForCausalLM.from_config(config).device,
        ends=frozenset([tokenizer.eos_token_id]),
        budget=1000,
    )
    put = question(problem(), "chat", tokenizer)

    asked = rows.read_prompt(loaded, put, max_new_tokens=1)
    (learnt,) = tokenise([row(given="")], tokenizer, 1000, "chat").rows

    assert list(asked.tokens) == expected
    assert learnt.tokens.tolist()[: len(expected)] == expected
    assert learnt.tokens.tolist().count(tokenizer.bos_token_id) == 1


def test_the_token_that_closes_an_answer_is_told_and_no_string_stands_for_it():
    tokenizer = starter("mistral")

    assert end_of_turn(tokenizer) == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert question(problem(), "chat", tokenizer).stop == ""


def test_a_closing_that_is_ordinary_text_is_a_stop_string():
    tokenizer = AutoTokenizer.from_pretrained(STARTER / "mistral")
    tokenizer.chat_template = CHATML  # whose tokens this tokenizer does not have

    assert end_of_turn(tokenizer) is None
    assert question(problem(), "chat", tokenizer).stop == "<|im_end|>"
    assert question(problem(), "alpaca", tokenizer).stop == ""


def test_an_answer_ends_before_the_stop_string_of_its_question():
    loaded = load_model(Weights(location=str(STARTER / "falcon")))
    asking = Asking(max_new_tokens=12)
    put = Question("1", alpaca("Write `total(xs)`.") + "def total(xs):", whole=False)
    (free,) = generate(loaded, [put], asking, (), seed=0)
    put = replace(put, stop=free.text[-4:])

    (ended,) = generate(loaded, [put], asking, (), seed=0)

    assert ended.text == free.text.partition(put.stop)[0] != free.text


def left_by_a_full_training(folder, template=None):
    """A whole model as a training leaves it, whose copy of the tokenizer somebody changed."""
    tokenizer = AutoTokenizer.from_pretrained(STARTER / "llama")
    model = AutoModelForCausalLM.from_pretrained(STARTER / "llama")
    save(model, model.state_dict(), folder, tokenizer)
    if template is not None:
        tokenizer.chat_template = template
        tokenizer.add_special_tokens({"eos_token": "<other>"})
        tokenizer.save_pretrained(folder)
    return Weights(location=str(STARTER / "llama"), tuned=folder, kind="full")


@pytest.mark.parametrize("template", [None, CHATML], ids=["as it was left", "changed"])
def test_base_and_tuned_read_the_same_tokens_and_end_at_the_same(template, tmp_path):
    tuned = left_by_a_full_training(tmp_path / "tuned", template)
    base, tuned = load_model(tuned.base), load_model(tuned)
    asked = question(problem(prompt="def add(a, b):\n"), "alpaca-signature").text

    assert asked_tokens(base.tokenizer, [asked], templated=False) == asked_tokens(
        tuned.tokenizer, [asked], templated=False
    )
    assert base.ends == tuned.ends
    assert base.tokenizer.chat_template == tuned.tokenizer.chat_template


def test_base_and_tuned_of_an_experiment_get_the_same_questions(tmp_path):
    model = tmp_path / "llama"
    shutil.copytree(STARTER / "llama", model)
    starter("llama").save_pretrained(model)
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"models: {{m: {{path: {model}}}}}\ndatasets: [smoke]\n"
        "methods: {f: {kind: full, steps: 1}}\n"
        "benchmarks: {starter: {problems: 3, prompt: chat-signature}}\n"
    )
    experiment = load(file)
    (benchmark,) = experiment.benchmarks
    tuned = left_by_a_full_training(tmp_path / "tuned", ZEPHYR)

    base, other = (
        ask_order(run, weights, benchmark, tmp_path / "out.jsonl")
        for run, weights in zip(experiment.runs(), (tuned.base, tuned), strict=True)
    )

    assert base.questions == other.questions != ()
    assert (base.stop, base.asking) == (other.stop, other.asking)
    assert "<|im_start|>user" in base.questions[0].text
