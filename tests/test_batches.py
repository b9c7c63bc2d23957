"""How rows of tokens fall to steps, workers and micro batches."""

from collections import Counter

import numpy as np
import pytest
import torch

from jobs.training.batches import NO_LOSS, collate, micro_batches, order_of, share
from jobs.experiment import LoRA
from jobs.training.spread import Spread
from jobs.training.rows import Row

CPU = torch.device("cpu")


def row(tokens, prompt_length=1):
    return Row(np.array(tokens, dtype=np.int32), prompt_length)


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


@pytest.mark.parametrize("rows, ranks", [(16, 2), (5, 2), (1, 2), (7, 3)])
def test_shares_are_the_batch(rows, ranks):
    batch = [row(range(i + 2)) for i in range(rows)]

    shares = [share(batch, rank, ranks) for rank in range(ranks)]

    assert Counter(id(one) for part in shares for one in part) == Counter(map(id, batch))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_every_worker_makes_the_same_number_of_micro_batches():
    spread = Spread.of(LoRA(kind="lora", steps=1, batch_size=7, micro_batch_size=2), ranks=2)
    batch = [row([1, 2])] * 7

    parts = [
        [len(p) for p in micro_batches(share(batch, r, 2), spread.micro_batch_size, 2)]
        for r in (0, 1)
    ]

    assert spread.micro_batches == 2
    assert parts == [[2, 2], [2, 1]]


def test_targets_are_the_next_tokens_of_responses_only():
    tokens, targets = collate([row([5, 6, 7, 8], 2), row([5, 9])], CPU)

    assert tokens.tolist() == [[5, 6, 7, 8], [5, 9, 0, 0]]
    assert targets.tolist() == [
        [NO_LOSS, 7, 8, NO_LOSS],
        [9, NO_LOSS, NO_LOSS, NO_LOSS],
    ]


def test_the_first_token_of_a_text_without_a_prompt_is_no_target():
    first = row([5, 6, 7], prompt_length=0)

    _, targets = collate([first], CPU)

    assert targets.tolist() == [[6, 7, NO_LOSS]]
    assert first.response_length == 2
