"""How the rows of a step fall to workers and packs, and what becomes of them as tensors."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.methods import LoRA
from jobs.training.packing import NO_LOSS, deal, make
from jobs.training.rows import Row

CPU = torch.device("cpu")
SETTINGS = LoRA(kind="lora", steps=1, batch_size=40, micro_batch_tokens=64).settings()
LENGTHS = st.lists(st.integers(min_value=2, max_value=90), min_size=1, max_size=40)


def row(tokens, prompt_length=1):
    return Row(np.array(tokens, dtype=np.int32), prompt_length)


def sized(lengths):
    return [row(range(length)) for length in lengths]


def computed(pack, *, packing):
    lengths = [len(one.tokens) for one in pack.rows]
    return sum(lengths) if packing else max(lengths) * len(lengths)


@given(LENGTHS, st.integers(min_value=1, max_value=5), st.booleans())
def test_every_row_is_dealt_once_within_the_limit_and_ranks_stay_in_step(lengths, ranks, packing):
    rows = sized(lengths)

    dealt = deal(rows, replace(SETTINGS, packing=packing), ranks)

    packs = [pack for rank in dealt for pack in rank]
    counted = [one for pack in packs if pack.counts for one in pack.rows]
    assert Counter(map(id, counted)) == Counter(map(id, rows))
    assert len(dealt) == ranks
    assert len({len(rank) for rank in dealt}) == 1
    for pack in packs:
        assert pack.rows
        assert computed(pack, packing=packing) <= 64 or len(pack.rows) == 1


@given(LENGTHS, st.integers(min_value=1, max_value=5), st.booleans())
def test_a_rank_repeats_only_where_the_rows_do_not_go_round(lengths, ranks, packing):
    dealt = deal(sized(lengths), replace(SETTINGS, packing=packing), ranks)

    repeats = [pack for rank in dealt for pack in rank if not pack.counts]
    assert len(repeats) < ranks
    assert all(len(pack.rows) == 1 and len(pack.rows[0].tokens) == min(lengths) for pack in repeats)


@given(LENGTHS, st.integers(min_value=1, max_value=5))
def test_dealing_again_gives_the_same(lengths, ranks):
    rows = sized(lengths)

    assert deal(rows, SETTINGS, ranks) == deal(rows, SETTINGS, ranks)


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_get_about_equal_work(ranks, packing):
    lengths = np.random.default_rng(ranks).integers(2, 60, 100).tolist()

    dealt = deal(sized(lengths), replace(SETTINGS, packing=packing, micro_batch_tokens=128), ranks)

    work = [sum(computed(pack, packing=packing) for pack in rank) for rank in dealt]
    assert max(work) - min(work) <= 0.05 * max(work)


def test_rows_that_fill_packs_exactly_leave_no_room():
    lengths = [40, 34, 30, 24, 20, 20, 14, 10]  # 192 in three packs of 64

    (packs,) = deal(sized(lengths), SETTINGS, 1)

    assert [pack.tokens for pack in packs] == [64, 64, 64]


def test_there_are_hardly_more_packs_than_the_tokens_need():
    lengths = np.random.default_rng(0).integers(2, 60, 40).tolist()

    (packs,) = deal(sized(lengths), SETTINGS, 1)

    # Best fit decreasing needs at most 11/9 of the fewest packs, and 4 (Johnson 1973).
    assert len(packs) <= 11 / 9 * np.ceil(sum(lengths) / 64) + 4


def test_padding_rows_of_like_length_together_wastes_little():
    lengths = np.random.default_rng(0).integers(2, 60, 400).tolist()

    (packs,) = deal(sized(lengths), replace(SETTINGS, packing=False, micro_batch_tokens=512), 1)

    assert sum(computed(pack, packing=False) for pack in packs) < 1.1 * sum(lengths)


def test_rows_in_one_pack_lie_behind_each_other():
    (pack,) = deal([row([5, 9], 1), row([5, 6, 7, 8], 2)], SETTINGS, 1)[0]

    batch = make(pack, SETTINGS, CPU)

    assert batch.tokens.tolist() == [[5, 6, 7, 8, 5, 9]]
    assert batch.targets.tolist() == [[NO_LOSS, 7, 8, NO_LOSS, 9, NO_LOSS]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 0, 1]]
    assert batch.starts is not None and batch.starts.tolist() == [0, 4, 6]
    assert batch.places.tolist() == [1, 2, 4]
    assert (batch.longest, batch.computed, batch.counts) == (4, 6, True)


def test_rows_beside_each_other_are_padded_on_the_right():
    settings = replace(SETTINGS, packing=False)
    (pack,) = deal([row([5, 9], 1), row([5, 6, 7, 8], 2)], settings, 1)[0]

    batch = make(pack, settings, CPU)

    assert batch.tokens.tolist() == [[5, 6, 7, 8], [5, 9, 0, 0]]
    assert batch.targets.tolist() == [[NO_LOSS, 7, 8, NO_LOSS], [9, NO_LOSS, NO_LOSS, NO_LOSS]]
    assert batch.positions.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert batch.places.tolist() == [1, 2, 4]
    assert batch.starts is None
    assert batch.computed == 8


@given(LENGTHS)
def test_a_compiled_model_sees_one_shape(lengths):
    settings = replace(SETTINGS, compile=True)
    rows = sized([min(length, 64) for length in lengths])

    batches = [make(pack, settings, CPU) for pack in deal(rows, settings, 1)[0]]

    assert {batch.tokens.shape for batch in batches} == {(1, 64)}
    assert len({batch.starts.shape for batch in batches}) == 1
    assert all(batch.starts[-1] == 64 for batch in batches)
    assert sum(len(batch.places) for batch in batches) == sum(one.response_length for one in rows)
    # A model may have learnt no more positions than its longest row has tokens.
    assert all(int(b.positions.max()) < max(len(one.tokens) for one in rows) for b in batches)


@pytest.mark.parametrize("packing", [True, False])
def test_the_first_token_of_a_text_without_a_prompt_is_no_target(packing):
    settings = replace(SETTINGS, packing=packing)
    first = row([5, 6, 7], prompt_length=0)
    (pack,) = deal([first], settings, 1)[0]

    batch = make(pack, settings, CPU)

    assert batch.targets.tolist() == [[6, 7, NO_LOSS]]
    assert first.response_length == len(batch.places) == 2
