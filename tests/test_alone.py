"""One worker without Ray: what is learnt, measured, kept, resumed and refused."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import small_training
import torch
from small_training import (
    FULL,
    LORA,
    changed,
    losses,
    same_bits,
    steps_of,
)

from jobs.data.row import read_rows
from jobs.methods import QLoRA
from jobs.prompts import alpaca
from jobs.training.ending import remedies
from jobs.training.order import TrainingError, from_json, to_json
from jobs.training.schedule import learning_rate
from jobs.training.schedule import order_of as schedule
from jobs.training.settings import ALONE, Spread
from jobs.training.steps import Step, read_facts
from jobs.training.watch import LASTING, RISE, WINDOW, DivergedError, Watch
from jobs.training.worker import train_worker

base, rows, order = small_training.base, small_training.rows, small_training.order
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")


class Told(list):
    """Who is told, and takes the worker's life after a step."""

    def __init__(self, dies_after=None):
        self.dies_after = dies_after

    def put(self, *messages):
        self.extend(message.step for message in messages)
        if any(message.step.step == self.dies_after for message in messages):
            raise InterruptedError


def train(order, told=None):
    train_worker(order, Told() if told is None else told)
    return read_facts(order.checkpoint)


def train_and_die(order, monkeypatch, step):
    """Until that step is told of."""
    monkeypatch.setattr("jobs.training.loop.MESSAGE_SECONDS", 0)
    with pytest.raises(InterruptedError):
        train(order, Told(dies_after=step))


def texts_of(order):
    rows = [row for path in sorted(order.rows.iterdir()) for row in read_rows(path)]
    return [(alpaca(row.instruction), row.response) for row in rows]


def plain_loss(model, tokenizer, texts):
    """Mean over the tokens of responses, every row alone, with all of its logits."""
    from torch.nn.functional import cross_entropy

    sums, count = [], 0
    for prompt, response in texts:
        skipped = len(tokenizer(prompt)["input_ids"])
        whole = tokenizer(prompt + response)["input_ids"] + [256]
        logits = model(input_ids=torch.tensor([whole])).logits[0]
        answer = torch.tensor(whole[skipped:])
        sums.append(cross_entropy(logits[skipped - 1 : -1], answer, reduction="sum"))
        count += len(answer)
    return sum(sums) / count


def plain_torch(order, texts):
    """The same training in the plainest form, and the model it leaves."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    settings, tokenizer = order.settings, AutoTokenizer.from_pretrained(order.location)
    model = AutoModelForCausalLM.from_pretrained(order.location, dtype=torch.float32)
    if settings.adapter:
        torch.manual_seed(order.seed)
        config = LoraConfig(r=4, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, config)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, weight_decay=0)
    plan = schedule(len(texts), batch_size=5, seed=order.seed, steps=6, epochs=None)
    found = []
    for step in range(6):
        loss = plain_loss(model, tokenizer, [texts[i] for i in plan.batch(step)])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step, 6)
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found, model, tokenizer


@pytest.mark.parametrize("method", [LORA, FULL], ids=["lora", "full"])
def test_a_training_follows_plain_torch(order, method):
    order = replace(order, settings=method.settings())
    told = Told()

    facts = train(order, told)

    plain, _, _ = plain_torch(order, texts_of(order))
    assert losses(order) == pytest.approx(plain, abs=1e-4)
    assert [step.loss for step in told] == losses(order)
    assert (facts.weights, facts.ranks, facts.zero_stage) == (method.settings().weights, 1, None)
    assert (facts.rows, facts.rows_held_out, facts.rows_left_out) == (23, 0, 0)
    assert facts.tokens == sum(step["tokens"] for step in steps_of(order))


def test_the_held_out_loss_is_of_rows_that_are_not_learnt(order):
    order = changed(order, held_out=0.2, evaluate_every=4)

    facts = train(order)

    texts = texts_of(order)
    aside = {2, 4, 6, 8, 18}  # they stay the same from version to version
    plain, model, tokenizer = plain_torch(order, [t for i, t in enumerate(texts) if i not in aside])
    with torch.no_grad():
        measured = plain_loss(model, tokenizer, [texts[i] for i in aside])
    found = [step["held_out_loss"] for step in steps_of(order)]
    assert [step for step, loss in enumerate(found, 1) if loss is not None] == [4, 6]
    assert losses(order) == pytest.approx(plain, abs=1e-4)
    assert found[-1] == pytest.approx(measured.item(), abs=1e-4)
    assert (facts.rows, facts.rows_held_out) == (18, 5)


def test_every_seed_holds_out_the_same_rows(order):
    first = changed(order, held_out=0.2, evaluate_every=1, steps=1, warmup=0.0, learning_rate=1e-9)
    other = replace(first, seed=1, folder=order.folder / "other")

    train(first)
    train(other)

    # Fresh adapters add nothing, so the same rows have the same loss whatever the seed.
    mine, theirs = steps_of(first)[0], steps_of(other)[0]
    assert mine["held_out_loss"] == pytest.approx(theirs["held_out_loss"], abs=1e-6)
    assert mine["loss"] != theirs["loss"]


def test_the_same_seed_gives_the_same_bits(order):
    adapter = replace(LORA.settings().adapter, dropout=0.1)
    order = changed(order, adapter=adapter, micro_batch_tokens=256)
    again, otherwise = (replace(order, folder=order.folder / name) for name in ("again", "other"))

    for one in (order, again, replace(otherwise, seed=1)):
        train(one)

    assert losses(order) == losses(again) != losses(otherwise)
    assert same_bits(order, again)


@pytest.mark.parametrize("method", [LORA, FULL], ids=["lora", "full"])
def test_a_training_that_went_on_is_the_undisturbed_one(order, method, monkeypatch):
    adapter = method.settings().adapter and replace(method.settings().adapter, dropout=0.1)
    order = changed(
        replace(order, settings=method.settings()),
        adapter=adapter,
        steps=10,
        checkpoint_every=3,
        held_out=0.2,
        evaluate_every=4,
    )
    undisturbed = replace(order, folder=order.folder / "undisturbed")
    train(undisturbed)

    train_and_die(order, monkeypatch, 5)
    train_and_die(order, monkeypatch, 8)
    told = Told()
    facts = train(order, told)

    assert losses(order) == losses(undisturbed)
    assert [s["held_out_loss"] for s in steps_of(order)] == [
        s["held_out_loss"] for s in steps_of(undisturbed)
    ]
    assert same_bits(order, undisturbed)
    assert facts.resumed == 2
    assert [step.step for step in told] == list(range(1, 11))  # what may have been lost, again


def test_a_checkpoint_is_due_after_minutes_too(order, monkeypatch):
    order = changed(order, steps=4, checkpoint_every=100, checkpoint_minutes=1e-9)

    train_and_die(order, monkeypatch, 3)

    # The third was told of, and not yet saved.
    kept = sorted(path.name for path in order.attempts.glob("step-*"))
    assert kept == ["step-00000001", "step-00000002"]


WORSENING = {"held_out": 0.2, "evaluate_every": 1, "patience": 3, "steps": 30, "warmup": 0.0}


@pytest.fixture
def worsening(order):
    """It learns, and then the rate is so high that it forgets."""
    return changed(order, **WORSENING, learning_rate=0.1, schedule="constant")


def test_patience_ends_a_training_and_keeps_its_best_weights(worsening):
    facts = train(worsening)

    found = [step["held_out_loss"] for step in steps_of(worsening)]
    best = found.index(min(found)) + 1
    assert len(found) == best + 3 < 30
    assert facts.best_step == best
    until = changed(worsening, steps=best, patience=None)
    until = replace(until, folder=worsening.folder / "until")
    train(until)
    assert same_bits(worsening, until)


def test_the_best_weights_outlive_a_death(worsening, monkeypatch):
    undisturbed = replace(worsening, folder=worsening.folder / "undisturbed")
    last = train(undisturbed).best_step + 3

    train_and_die(worsening, monkeypatch, last - 1)
    facts = train(worsening)

    assert (facts.best_step, facts.resumed) == (last - 3, 1)
    assert same_bits(worsening, undisturbed)
    assert losses(worsening) == losses(undisturbed)


def test_a_loss_that_is_no_number_names_the_rows_that_were_in_the_batch(order):
    wild = changed(order, learning_rate=1e30, warmup=0.0)

    with pytest.raises(DivergedError) as raised:
        train(wild)

    trouble = raised.value.trouble
    plan = schedule(23, batch_size=5, seed=0, steps=6, epochs=None)
    batch = plan.batch(trouble.step - 1)
    assert trouble.step in (2, 3)
    assert [f"s rows.jsonl:{i + 1} (row {i} of the dataset)" for i in batch] == list(trouble.rows)
    assert f"run run: at step {trouble.step} the" in str(raised.value)
    assert "rate 9.33e+29)" in str(raised.value) and "lower learning_rate" in str(raised.value)
    assert not wild.checkpoint.exists()


def test_the_steps_before_a_divergence_are_told(order, monkeypatch):
    monkeypatch.setattr("jobs.training.loop.MESSAGE_SECONDS", 3600)
    told = Told()

    with pytest.raises(DivergedError) as raised:
        train(changed(order, learning_rate=1e30, warmup=0.0), told)

    assert [step.step for step in told] == list(range(1, raised.value.trouble.step))


class Exhausted(Told):
    """A worker that has no more memory after some step, in torch's own words."""

    def put(self, *messages):
        super().put(*messages)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_a_worker_without_memory_says_what_would_need_less(order):
    with pytest.raises(TrainingError) as raised:
        train(changed(order, checkpoint_every=1), Exhausted())

    said = str(raised.value)
    assert said.startswith("run run: worker 0 on ")
    assert "Tried to allocate 2.00 GiB." in said
    wanted = ("micro_batch_tokens (now 2048)", "activation_checkpointing: true", "kind: qlora")
    assert all(setting in said for setting in (*wanted, "zero3"))


def test_only_what_is_left_to_change_is_named(order):
    lean = changed(
        order,
        activation_checkpointing=True,
        micro_batch_tokens=1024,
        adapter=replace(order.settings.adapter, quantization="nf4"),
    )

    found = remedies(lean.settings, Spread(strategy="zero3", ranks=2))

    assert found == [
        "a smaller max_length (now 1024)",
        "parallelism with offload: parameters",
    ]


def steps_with(found):
    return [
        Step(step=i + 1, loss=loss, learning_rate=1, gradient_norm=1, tokens=1, seconds=1)
        for i, loss in enumerate(found)
    ]


def first_trouble(found):
    watch = Watch()
    return next((step.step for step in steps_with(found) if watch.wrong(step)), None)


def test_a_loss_that_climbs_and_stays_is_divergence():
    falling = [3 - 0.01 * step for step in range(100)]

    assert first_trouble([*falling, *[2.5 + RISE + 0.1] * 100]) is not None
    assert first_trouble([*falling, *[2.0 + RISE - 0.1] * 500]) is None
    # 20 steps until the mean is all of the new losses at the latest, and 20 of patience.
    assert 100 + LASTING <= first_trouble([*falling, *[12.0] * 100]) <= 100 + WINDOW + LASTING


def test_a_spike_is_no_divergence():
    spiky = [1.0] * 60 + [9.0] * 3 + [1.0] * 60

    assert first_trouble(spiky) is None


def test_a_watch_goes_on_where_it_was():
    found = steps_with([1.0] * 30 + [5.0] * 60)
    whole = Watch()
    wrong = next(step.step for step in found if whole.wrong(step))

    for cut in (10, 35, wrong - 1):
        resumed = Watch(found[:cut])
        assert next(step.step for step in found[cut:] if resumed.wrong(step)) == wrong


def test_a_held_out_loss_that_is_no_number_is_wrong():
    (step,) = steps_with([1.0])

    assert Watch().wrong(replace(step, held_out_loss=math.nan)) is not None


def test_what_is_done_is_not_done_again(order):
    train(order)
    before = (order.checkpoint / "facts.json").stat()

    told = Told()
    train(order, told)

    assert told == []
    assert (order.checkpoint / "facts.json").stat() == before


@pytest.mark.parametrize("too_long, kept", [("drop", (0, 0)), ("split", (0, 2))])
def test_what_became_of_long_rows_is_told(order, too_long, kept):
    order = changed(replace(order, form="plain", too_long=too_long), steps=1, max_length=8)

    facts = train(order)

    lengths = [n % 7 + len(f" + {n}") + 1 for n in range(23)]  # of bytes, and what ends them
    long = sum(length > 8 for length in lengths)
    assert facts.windows == kept[1] * long
    assert facts.rows_left_out == (0 if kept[1] else long) > -1
    assert facts.rows == 23 - facts.rows_left_out + facts.windows // 2
    assert long > 0


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"form": "chat"}, "no chat template"),
        ({"location": "/nowhere"}, "/nowhere has no tokenizer"),
        ({"rows": Path("/nowhere")}, "no rows in /nowhere on .* all nodes must see"),
        ({"spread": Spread(strategy="ddp", ranks=2)}, "ordered for 2 workers, but 1 run"),
    ],
)
def test_an_order_that_cannot_be_carried_out_says_why(order, wrong, said):
    with pytest.raises(TrainingError, match=said):
        train(replace(order, **wrong))


def test_rows_that_are_all_too_long_end_a_training(order):
    with pytest.raises(TrainingError, match=r"none of the 23 rows .* at most 8 tokens"):
        train(changed(order, max_length=8))


def test_an_order_outlives_its_file(order):
    assert from_json(to_json(order)) == order
    targeted = QLoRA(kind="qlora", epochs=1, targets=("q_proj", "v_proj")).settings()
    other = replace(order, settings=targeted, spread=Spread(strategy="zero1", ranks=4))
    assert from_json(to_json(other)) == other


@pytest.mark.parametrize(
    "text, said", [("", "no order"), ("{}", "settings"), ('{"settings": 1}', "no order")]
)
def test_a_file_that_is_no_order_says_so(text, said):
    with pytest.raises(TrainingError, match=said):
        from_json(text)


ROOT = Path(__file__).parent.parent


def by_command(*arguments):
    command = [sys.executable, "-m", "jobs.training", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_command_repeats_an_order_without_ray(order, tmp_path):
    train(order)
    (tmp_path / "order.json").write_text(to_json(order))

    done = by_command(tmp_path / "order.json", "--folder", tmp_path / "again")

    again = replace(order, folder=tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert losses(again) == losses(order) and same_bits(again, order)
    assert f"step 6/6  loss {losses(order)[-1]:.4f}" in done.stdout
    assert done.stdout.endswith(f"done: {again.checkpoint}\n")
    assert not again.attempts.exists()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["zero1", "zero3"])
def test_a_command_carries_out_zero_with_one_worker(order, strategy, tmp_path):
    order = replace(order, spread=Spread(strategy=strategy, ranks=1))
    (tmp_path / "order.json").write_text(to_json(order))

    done = by_command(tmp_path / "order.json")

    assert done.returncode == 0, done.stderr
    facts = read_facts(order.checkpoint)
    assert (facts.engine, facts.zero_stage, facts.ranks) == (
        "DeepSpeedEngine",
        int(strategy[-1]),
        1,
    )
    train(replace(order, spread=ALONE, folder=tmp_path / "alone"))
    assert losses(order) == pytest.approx(
        losses(replace(order, folder=tmp_path / "alone")), abs=1e-5
    )


def test_a_command_says_what_is_wrong_in_one_line(tmp_path):
    done = by_command(tmp_path / "none.json")

    assert done.returncode == 2
    assert done.stderr == f"{tmp_path / 'none.json'} cannot be read: No such file or directory\n"


def test_a_training_needs_neither_ray_nor_pydantic_nor_a_database():
    import ast

    code = """
import sys
for name in ("ray", "pydantic", "sqlalchemy", "pyarrow"):
    sys.modules[name] = None
import jobs.training.worker, jobs.training.loop, jobs.training.__main__
print(sorted(n for n in sys.modules if n.startswith("jobs.")))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "jobs.training.loop" in ast.literal_eval(done.stdout)
