"""Rows as tokens, and how they fall to steps, workers and micro batches."""

from collections import Counter

import pytest
import torch

from jobs.batches import NO_LOSS, Row, collate, micro_batches, order_of, share, tokenise
from jobs.experiment import LoRA
from jobs.spread import Spread

CPU = torch.device("cpu")


class Letters:
    """A tokenizer whose tokens are letters, but `:x` is one token, and texts start with 1."""

    eos_token_id = 0

    def __call__(self, text, add_special_tokens=True):
        if isinstance(text, list):
            return {"input_ids": [self(one)["input_ids"] for one in text]}
        tokens = [ord(c) for c in text.replace(":x", "\u2030")]
        return {"input_ids": [1, *tokens] if add_special_tokens else tokens}


def test_a_row_ends_its_text_and_keeps_the_tokens_of_the_prompt():
    (row,) = tokenise([("ab", "cd")], Letters(), 10)

    assert row == Row((1, 97, 98, 99, 100, 0), prompt_length=3)


def test_a_token_never_straddles_prompt_and_response():
    (row,) = tokenise([("a:", "xy")], Letters(), 10)

    assert row.tokens == (1, ord("a"), ord(":"), ord("x"), ord("y"), 0)


def test_longer_rows_are_left_out():
    rows = tokenise([("a", "b"), ("a", "b" * 9), ("a", "c")], Letters(), 4)

    assert [row.tokens[2] for row in rows] == [98, 99]


def test_a_tokenizer_that_cannot_end_a_text_is_refused():
    letters = Letters()
    letters.eos_token_id = None

    with pytest.raises(ValueError, match="eos_token"):
        tokenise([("a", "b")], letters, 10)


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
    batch = [Row(tuple(range(i + 2)), 1) for i in range(rows)]

    shares = [share(batch, rank, ranks) for rank in range(ranks)]

    assert Counter(row for part in shares for row in part) == Counter(batch)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_every_worker_makes_the_same_number_of_micro_batches():
    spread = Spread.of(LoRA(kind="lora", steps=1, batch_size=7, micro_batch_size=2), ranks=2)
    batch = [Row((1, 2), 1)] * 7

    parts = [
        [len(p) for p in micro_batches(share(batch, r, 2), spread.micro_batch_size, 2)]
        for r in (0, 1)
    ]

    assert spread.micro_batches == 2
    assert parts == [[2, 2], [2, 1]]


def test_targets_are_the_next_tokens_of_responses_only():
    tokens, targets = collate([Row((5, 6, 7, 8), 2), Row((5, 9), 1)], CPU)

    assert tokens.tolist() == [[5, 6, 7, 8], [5, 9, 0, 0]]
    assert targets.tolist() == [
        [NO_LOSS, 7, 8, NO_LOSS],
        [9, NO_LOSS, NO_LOSS, NO_LOSS],
    ]
