"""The engine beside transformers' own `generate`, and what it promises about seeds and ends."""

import dataclasses
import json
import re
import subprocess
import sys
from collections import Counter
from itertools import groupby
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from scipy.stats import chisquare
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.utils import logging

from jobs.engine import EngineError, generate, load_model
from jobs.experiment import Asking
from jobs.generation.draws import Sampling, draw
from jobs.prompts import Question, alpaca
from jobs.weights import Weights

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft
STARTER = Path(__file__).parent.parent / "models" / "starter"
END = 0
CORPUS = [
    "def add(first, second):\n    return first + second\n",
    "for value in values:\n    print(",
]
SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "eos_token_id": END,
    "bos_token_id": END,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
}
ARCHITECTURES = {
    "falcon": (FalconConfig, {"alibi": False, "bias": False}),
    "falcon with alibi": (FalconConfig, {"alibi": True, "bias": False}),
    "llama": (LlamaConfig, {"intermediate_size": 64}),
    "mistral": (MistralConfig, {"intermediate_size": 64, "num_key_value_heads": 2, "head_dim": 8}),
    "mistral with a short window": (
        MistralConfig,
        {"intermediate_size": 64, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 6},
    ),
}
QUESTIONS = tuple(
    Question(f"problem {number}", text, whole=False)
    for number, text in enumerate(
        ["def add(a, b):", "x", "for value in values:\n    print(value)\n", "return first", "é = 1"]
    )
)
SAMPLED = Asking(completions=4, temperature=0.8, max_new_tokens=24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A function that writes a random model of an architecture and returns its folder."""
    logging.disable_progress_bar()
    root = tmp_path_factory.mktemp("models")
    tokenizer = byte_tokenizer()

    def write(name, **changes):
        kind, own = ARCHITECTURES[name]
        path = root / f"{name} {len(list(root.iterdir()))}"
        torch.manual_seed(1)
        config = kind(**SHAPE | {"vocab_size": len(tokenizer)} | own | changes)
        AutoModelForCausalLM.from_config(config).save_pretrained(path)
        tokenizer.save_pretrained(path)
        return path

    return write


@pytest.fixture(scope="module")
def llama(folder):
    return load_model(Weights(location=str(folder("llama"))))


def byte_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=["<end>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


def texts(answers):
    return {(answer.task_id, answer.position): answer.text for answer in answers}


def alone(model, tokenizer, question, new_tokens):
    """Greedy text by transformers, one prompt at a time."""
    asked = tokenizer(question.text, return_tensors="pt")
    written = model.generate(
        input_ids=asked["input_ids"],
        attention_mask=asked["attention_mask"],
        max_new_tokens=new_tokens,
        do_sample=False,
        pad_token_id=END,
    )
    return tokenizer.decode(written[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_text_is_that_of_transformers(folder, architecture):
    loaded = load_model(Weights(location=str(folder(architecture))))
    expected = [alone(loaded.model, loaded.tokenizer, q, 30) for q in QUESTIONS]

    answers = list(generate(loaded, QUESTIONS, Asking(max_new_tokens=30), (), 0))

    assert [answer.text for answer in answers] == expected
    assert [answer.task_id for answer in answers] == [q.task_id for q in QUESTIONS]


def test_most_answers_may_end_with_their_first_token(llama):
    rarely = frozenset(token for token in range(len(llama.tokenizer)) if token % 8)
    questions = [Question(str(number), f"x{number}", whole=False) for number in range(48)]
    asking = Asking(temperature=1.0, max_new_tokens=6)

    answers = list(generate(dataclasses.replace(llama, ends=rarely), questions, asking, (), 0))

    lengths = Counter(answer.tokens for answer in answers)
    assert lengths[1] > 30
    assert set(lengths) - {1}


def test_draws_follow_the_softmax_of_the_temperature():
    torch.manual_seed(0)
    logits_V = torch.randn(12)
    uniform_B = torch.rand(20_000, dtype=torch.float64)

    drawn_B = draw(logits_V.expand(20_000, -1), uniform_B, Sampling(temperature=0.7))

    expected_V = torch.softmax(logits_V.double() / 0.7, -1) * 20_000
    assert chisquare(torch.bincount(drawn_B, minlength=12), expected_V).pvalue > 0.001


def test_first_tokens_of_many_answers_follow_the_model(llama):
    asking = Asking(completions=3000, temperature=1.0, max_new_tokens=1)
    question = QUESTIONS[0]
    asked = llama.tokenizer(question.text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        chances_V = llama.model(input_ids=asked).logits[0, -1].double().softmax(-1)
    expected = Counter()
    for token, chance in enumerate(chances_V.tolist()):
        expected[llama.tokenizer.decode([token], skip_special_tokens=True)] += 3000 * chance
    common = [text for text, count in expected.items() if count >= 10]

    seen = Counter(answer.text for answer in generate(llama, [question], asking, (), seed=5))

    observed = [seen[text] for text in common] + [3000 - sum(seen[text] for text in common)]
    rest = 3000 - sum(expected[text] for text in common)
    assert chisquare(observed, [expected[text] for text in common] + [rest]).pvalue > 0.001


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0, top_p=0.6),
        Sampling(temperature=1.0, top_k=5),
        Sampling(temperature=0.7, top_k=7, top_p=0.8),
        Sampling(temperature=1.5, top_k=1),
    ],
    ids=str,
)
def test_tokens_are_drawn_as_the_warpers_of_transformers_let_them_through(sampling):
    torch.manual_seed(2)
    logits_V = torch.randn(40)
    uniform_B = torch.rand(20_000, dtype=torch.float64)

    drawn_B = draw(logits_V.expand(20_000, -1), uniform_B, sampling)

    warped_1V = TemperatureLogitsWarper(sampling.temperature)(None, logits_V[None])
    if sampling.top_k:
        warped_1V = TopKLogitsWarper(sampling.top_k)(None, warped_1V)
    if sampling.top_p < 1:
        warped_1V = TopPLogitsWarper(sampling.top_p)(None, warped_1V)
    chances_V = warped_1V[0].double().softmax(-1)
    allowed = chances_V > 0
    seen_V = torch.bincount(drawn_B, minlength=40)
    assert seen_V[~allowed].sum() == 0
    if allowed.sum() > 1:
        assert chisquare(seen_V[allowed], chances_V[allowed] * 20_000).pvalue > 0.001


@pytest.mark.parametrize("budget", [1, 200, 700], ids=lambda budget: f"{budget} tokens at once")
def test_text_does_not_depend_on_batches_or_their_order(llama, budget):
    stop = ("e", "\n")  # rows leave their batch at different times
    whole = texts(generate(llama, QUESTIONS, SAMPLED, stop, seed=3))
    other = dataclasses.replace(llama, budget=budget)

    assert texts(generate(other, QUESTIONS[::-1], SAMPLED, stop, seed=3)) == whole
    assert len({len(text) for text in whole.values()}) > 5


def test_another_seed_and_another_position_are_other_text(llama):
    first = texts(generate(llama, QUESTIONS[:1], SAMPLED, (), seed=3))
    second = texts(generate(llama, QUESTIONS[:1], SAMPLED, (), seed=4))

    assert len(set(first.values()) | set(second.values())) == 8


def test_asking_for_more_answers_keeps_the_first_ones(llama):
    few = SAMPLED.model_copy(update={"completions": 2})

    fewer = texts(generate(llama, QUESTIONS, few, (), seed=3))

    assert fewer.items() < texts(generate(llama, QUESTIONS, SAMPLED, (), seed=3)).items()


@pytest.mark.parametrize("stop", [("a",), ("\n", "de"), ("first",), ("re", "o", " ")], ids=str)
def test_an_answer_ends_before_the_first_stop_string(llama, stop):
    free = texts(generate(llama, QUESTIONS, SAMPLED, (), seed=3))
    pattern = "|".join(map(re.escape, stop))

    answers = list(generate(llama, QUESTIONS, SAMPLED, stop, seed=3))

    assert texts(answers) == {key: re.split(pattern, text)[0] for key, text in free.items()}
    stopped = {(a.task_id, a.position) for a in answers if a.finish == "stop"}
    assert stopped == {key for key, text in free.items() if re.search(pattern, text)}


def test_as_many_as_do_not_fit_are_halved_for_good(llama, monkeypatch):
    many = SAMPLED.model_copy(update={"completions": 14})
    whole = texts(generate(llama, QUESTIONS, many, (), seed=3))
    sizes = []
    forward = llama.model.forward

    def small(*args, input_ids, **kwargs):
        sizes.append(len(input_ids))
        if len(input_ids) > 20 and len(sizes) > 30:
            raise torch.OutOfMemoryError("out of memory")
        return forward(*args, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(llama.model, "forward", small)
    roomy = dataclasses.replace(llama)

    assert texts(generate(roomy, QUESTIONS, many, (), seed=3)) == whole
    assert texts(generate(roomy, QUESTIONS, many, (), seed=3)) == whole
    tried = [size for size, _ in groupby(size for size in sizes if size > 1)]
    assert tried[:3] == [70, 35, 17]
    assert max(tried[3:]) <= 17  # when it is asked again, too


WITH_LITTLE_MEMORY = """
import dataclasses, resource, sys
import torch
from jobs.engine import generate, load_model
from jobs.experiment import Asking
from jobs.prompts import Question
from jobs.weights import Weights

torch.set_num_threads(1)
model = dataclasses.replace(load_model(Weights(location=sys.argv[1])), budget=10**6, seats=400)
questions = [Question(str(n), "def f(values):\\n    return " * 3, whole=False) for n in range(2)]

def texts():
    asking = Asking(completions=200, temperature=1.0, max_new_tokens=24)
    return [answer.text for answer in generate(model, questions, asking, (), seed=3)]

free = texts()
assert model.budget == 10**6
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (int(sys.argv[2]) << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
assert texts() == free
print(model.budget)
"""


@pytest.mark.slow
def test_where_the_machine_has_no_more_memory_fewer_answers_are_written_at_once(folder):
    large = folder("llama", hidden_size=256, num_hidden_layers=8, intermediate_size=256)
    command = [sys.executable, "-c", WITH_LITTLE_MEMORY, str(large), "48"]

    done = subprocess.run(
        command, cwd=STARTER.parent.parent, capture_output=True, text=True, timeout=300
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 10**6


def test_a_question_that_a_model_has_no_room_for_is_answered_with_nothing(llama):
    question = Question("the long one", "x = 1\n" * 100, whole=True)  # 128 positions

    long, short = generate(llama, [question, QUESTIONS[0]], Asking(max_new_tokens=4), (), 0)

    assert (long.task_id, long.text, long.tokens, long.finish) == ("the long one", "", 0, "length")
    assert short.tokens > 0


def test_a_model_without_an_end_token_is_refused(folder):
    path = folder("llama", eos_token_id=None)
    settings = path / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"eos_token": None}))

    with pytest.raises(EngineError, match="names no end token"):
        load_model(Weights(location=str(path)))


def adapter_of(path, into: Path, trained: bool):
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(path),
        LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    for name, weight in model.named_parameters():
        if trained and "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(into)
    return model.eval()


def test_an_adapter_of_another_model_is_refused(folder, tmp_path):
    deeper = folder("llama", num_hidden_layers=3)
    adapter_of(deeper, tmp_path, trained=True)

    with pytest.raises(EngineError, match="14 tensors are in one of them only"):
        load_model(Weights(location=str(folder("llama")), tuned=tmp_path))


@pytest.mark.parametrize("architecture", ["falcon", "llama", "mistral"])
def test_an_adapter_answers_as_peft_does(folder, tmp_path, architecture):
    path = folder(architecture)
    tuned = adapter_of(path, tmp_path, trained=True)
    loaded = load_model(Weights(location=str(path), tuned=tmp_path))

    (answer,) = generate(loaded, QUESTIONS[:1], Asking(max_new_tokens=12), (), 0)

    assert answer.text == alone(tuned, loaded.tokenizer, QUESTIONS[0], 12)


@pytest.fixture(scope="module", params=["falcon", "llama", "mistral"])
def starter(request):
    return load_model(Weights(location=str(STARTER / request.param)))


WORDS = "Write a function that returns the sum of the even numbers of a list, doubled."
ASKED = tuple(
    Question(f"starter {n}", alpaca(WORDS[: 12 + 11 * n]) + f"def f{n}(xs):", whole=False)
    for n in range(7)
)


def test_greedy_tokens_of_the_starter_models_are_those_of_transformers(starter):
    expected = [alone(starter.model, starter.tokenizer, q, 32) for q in ASKED]

    answers = generate(starter, ASKED, Asking(max_new_tokens=32), (), 0)

    assert [answer.text for answer in answers] == expected


def test_a_model_may_be_asked_in_bf16():
    loaded = load_model(Weights(location=str(STARTER / "mistral")), "bf16")
    expected = [alone(loaded.model, loaded.tokenizer, q, 3) for q in ASKED]

    answers = generate(loaded, ASKED, Asking(max_new_tokens=3, precision="bf16"), (), 0)

    assert loaded.model.dtype == torch.bfloat16
    assert [answer.text for answer in answers] == expected


@pytest.mark.parametrize(
    "asking",
    [
        Asking(max_new_tokens=32),
        Asking(completions=4, temperature=0.8, top_k=50, top_p=0.95, max_new_tokens=32),
    ],
    ids=["greedy", "sampled"],
)
def test_in_fp32_a_starter_model_says_the_same_however_many_are_written_at_once(starter, asking):
    stop = ("\n\n", "return")
    whole = list(generate(starter, ASKED, asking, stop, seed=7))

    for budget, seats in ((1, 80), (1_000, 80), (10**6, 3), (10**6, 21)):
        other = dataclasses.replace(starter, budget=budget, seats=seats)
        assert list(generate(other, ASKED, asking, stop, seed=7)) == whole

    halves = [
        answer
        for part in (ASKED[::-2], ASKED[-2::-2])
        for answer in generate(starter, part, asking, stop, seed=7)
    ]
    assert sorted(halves, key=whole.index) == whole
    if asking.temperature:  # seats have changed hands
        assert len({answer.tokens for answer in whole}) > 3
