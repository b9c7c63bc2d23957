"""What happens in which step: learning rates beside torch's own, rows beside what sets do."""

import warnings
from collections import Counter
from dataclasses import replace
from math import ceil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as hyp
from torch.optim import lr_scheduler

from jobs.methods import LoRA
from jobs.training.rows import Row
from jobs.training.schedule import learning_rate, order_of, split

SETTINGS = LoRA(kind="lora", steps=1, learning_rate=0.5).settings()


def row(origin):
    return Row(np.array([1, 2], dtype=np.int32), 1, origin)


def torchs_curve(schedule, warmup, decay, steps):
    """The same curve out of torch's schedulers, one after the other."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    rising = ceil(warmup * steps)
    left = steps - rising
    falling = min(ceil(decay * steps), left)
    parts = {
        "constant": [(lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0), left)],
        "linear": [(lr_scheduler.LinearLR(optimizer, 1.0, 1e-12, total_iters=left), left)],
        "cosine": [(lr_scheduler.CosineAnnealingLR(optimizer, T_max=left), left)],
        "wsd": [
            (lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0), left - falling),
            (lr_scheduler.LinearLR(optimizer, 1.0, 1e-12, total_iters=falling), falling),
        ],
    }[schedule]
    if rising > 1:
        start = lr_scheduler.LinearLR(optimizer, 1 / rising, 1.0, total_iters=rising - 1)
        parts = [(start, rising), *parts]
    elif rising:
        parts = [(lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0), 1), *parts]
    ends = np.cumsum([length for _, length in parts[:-1]]).tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates a way in which it calls itself
        whole = lr_scheduler.SequentialLR(optimizer, [part for part, _ in parts], milestones=ends)
        found = []
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            whole.step()
    return found


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "wsd"])
@pytest.mark.parametrize("warmup, decay", [(0.0, 0.2), (0.03, 0.2), (0.25, 0.5), (0.6, 1.0)])
@pytest.mark.parametrize("steps", [40, 41])
def test_learning_rates_are_torchs(schedule, warmup, decay, steps):
    settings = replace(SETTINGS, schedule=schedule, warmup=warmup, decay=decay)

    found = [learning_rate(settings, step, steps) for step in range(steps)]

    assert found == pytest.approx(torchs_curve(schedule, warmup, decay, steps), abs=1e-9)


@given(
    steps=hyp.integers(1, 300),
    schedule=hyp.sampled_from(["constant", "linear", "cosine", "wsd"]),
    warmup=hyp.floats(0, 0.99),
    decay=hyp.floats(0.001, 1),
)
def test_a_learning_rate_is_never_zero_nor_above_its_height(steps, schedule, warmup, decay):
    settings = replace(SETTINGS, schedule=schedule, warmup=warmup, decay=decay)

    rates = [learning_rate(settings, step, steps) for step in range(steps)]

    assert all(0 < rate <= 0.5 for rate in rates)
    assert max(rates) == 0.5


def test_every_epoch_takes_every_row_once():
    order = order_of(7, batch_size=3, seed=5, steps=None, epochs=2)

    taken = [i for step in range(order.steps) for i in order.batch(step)]

    assert Counter(taken[:7]) == Counter(taken[7:]) == Counter(range(7))
    assert taken[:7] != taken[7:]


def test_a_part_of_an_epoch_is_that_many_rows():
    order = order_of(10, batch_size=4, seed=0, steps=None, epochs=0.5)

    assert [len(order.batch(step)) for step in range(order.steps)] == [4, 1]


def test_the_seed_decides_the_order():
    def taken(seed):
        return order_of(50, batch_size=50, seed=seed, steps=1, epochs=None).batch(0)

    assert taken(0) == taken(0) != taken(1)


@given(origins=hyp.lists(hyp.integers(0, 60), min_size=2), share=hyp.floats(0.001, 0.499))
def test_rows_are_learnt_or_held_out_and_windows_of_a_text_stay_together(origins, share):
    rows = [row(origin) for origin in sorted(origins)]
    texts = set(origins)
    if len(texts) < 2:
        with pytest.raises(ValueError, match="none can be held out"):
            split(rows, share)
        return

    trained, aside = split(rows, share)

    numbers = [*trained.numbers.tolist(), *aside.numbers.tolist()]
    assert sorted(numbers) == list(range(len(rows)))
    learnt = {trained[i].origin for i in range(len(trained))}
    measured = {aside[i].origin for i in range(len(aside))}
    assert learnt and measured and not learnt & measured
    assert abs(len(measured) - share * len(texts)) <= 1


def test_a_text_stays_held_out_when_others_are_too_long_for_a_method():
    rows = [row(origin) for origin in range(1000)]
    few = [one for one in rows if one.origin % 10]

    _, of_all = split(rows, 0.1)
    _, of_few = split(few, 0.1)

    all_out = {of_all[i].origin for i in range(len(of_all))}
    few_out = {of_few[i].origin for i in range(len(of_few))}
    assert len(few_out & all_out) >= 0.85 * len(few_out)


def test_held_out_texts_come_from_everywhere_in_the_dataset():
    _, aside = split([row(origin) for origin in range(10_000)], 0.05)

    tenths = Counter(int(number) // 1000 for number in aside.numbers)

    # 50 are expected in each; a binomial count strays 4 sigma once in 16 000 times.
    assert set(tenths) == set(range(10))
    assert all(22 <= count <= 78 for count in tenths.values())


def test_nothing_is_held_out_where_nothing_is_asked_for():
    trained, aside = split([row(0)], 0.0)

    assert (len(trained), len(aside)) == (1, 0)
