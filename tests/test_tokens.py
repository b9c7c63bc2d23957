"""Rows as tokens: what is learnt, how texts end, and what becomes of those that are too long."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
import torch
from small_tokenizers import CHATML, CODE, pieces, row, starter
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from jobs.methods import LoRA
from jobs.tokens import CHUNK, Rows, asked_tokens, lengths, tokenise
from jobs.training.packing import NO_LOSS, Pack, make

CPU = torch.device("cpu")


def letters(merges=(), **named):
    """A tokenizer whose tokens are the bytes, but for some merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = [*alphabet, *("".join(pair) for pair in merges), "<end>"]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(vocabulary)}, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", **named)


def learnt(found, tokenizer):
    return tokenizer.decode(found.tokens[found.prompt_length :])


def targets(rows):
    """All tokens that carry loss, as the training loop sees them."""
    batch = make(Pack(rows=tuple(rows)), LoRA(kind="lora", steps=1).settings(), CPU)
    return [token for token in batch.targets.flatten().tolist() if token != NO_LOSS]


def test_the_response_and_one_end_carry_loss_and_nothing_else():
    tokenizer = letters()

    (found,) = tokenise([row()], tokenizer, 1000).rows

    assert tokenizer.decode(targets([found])) == CODE + "<end>"
    assert found.response_length == len(targets([found]))


def test_the_end_is_learnt_where_it_also_is_the_padding():
    tokenizer = letters(pad_token="<end>")

    rows = tokenise([row(), row(response="x")], tokenizer, 1000).rows

    assert targets(rows).count(tokenizer.eos_token_id) == 2


@pytest.mark.parametrize("form", ["alpaca", "chat", "plain"])
@pytest.mark.parametrize("response", [CODE, CODE + "</s>"], ids=["bare", "ended already"])
@pytest.mark.parametrize("ends", [False, True], ids=["tokenizer adds none", "tokenizer adds one"])
def test_a_text_has_exactly_one_end_and_it_is_the_last_token(form, response, ends):
    tokenizer = pieces(ends=ends)

    (found,) = tokenise([row(response=response)], tokenizer, 1000, form).rows

    assert found.tokens.tolist().count(tokenizer.eos_token_id) == 1
    assert found.tokens[-1] == tokenizer.eos_token_id


def test_a_turn_is_closed_before_its_text_is_ended():
    tokenizer = starter("llama", CHATML)

    (found,) = tokenise([row()], tokenizer, 1000, "chat").rows

    assert learnt(found, tokenizer) == CODE + "<|im_end|><|end|>"


def test_a_turn_that_closes_with_the_end_is_ended_once():
    tokenizer = starter("llama", CHATML)
    tokenizer.eos_token = "<|im_end|>"

    (found,) = tokenise([row()], tokenizer, 1000, "chat").rows

    assert learnt(found, tokenizer) == CODE + "<|im_end|>"


@pytest.mark.parametrize("form", ["alpaca", "chat", "plain"])
def test_the_text_of_a_special_token_in_a_response_is_text(form):
    tokenizer = starter("llama", CHATML)
    response = 'STOP = "<|end|>"  # and <|im_end|>\n'

    (found,) = tokenise([row(response=response)], tokenizer, 1000, form).rows

    said = found.tokens[found.prompt_length :].tolist()
    assert tokenizer.decode(said).startswith(response)
    assert said.count(tokenizer.eos_token_id) == 1
    assert said.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == (form == "chat")


def test_a_token_never_straddles_prompt_and_response():
    tokenizer = letters(merges=[("Ċ", "x")])
    assert len(tokenizer("\nx")["input_ids"]) == 1

    (found,) = tokenise([row(response="x\nx")], tokenizer, 1000).rows

    assert [tokenizer.decode([t]) for t in found.tokens[-4:]] == ["\n", "x", "\nx", "<end>"]


def test_a_tokenizer_that_cannot_end_a_text_is_refused():
    tokenizer = letters()
    tokenizer.eos_token = None

    with pytest.raises(ValueError, match="eos_token"):
        tokenise([row()], tokenizer, 10)


def plain(response):
    return row(instruction="", given="", response=response)


@pytest.mark.parametrize("too_long", ["drop", "cut", "split"])
def test_rows_that_fit_are_the_same_whatever_becomes_of_longer_ones(too_long):
    found = tokenise([plain("abc"), plain("de")], letters(), 4, "plain", too_long)

    assert [learnt(one, letters()) for one in found.rows] == ["abc<end>", "de<end>"]
    assert (found.dropped, found.cut, found.windows) == (0, 0, 0)


def test_longer_rows_are_left_out_and_counted():
    found = tokenise([plain("abc"), plain("abcd"), plain("e")], letters(), 4, "plain")

    assert [learnt(one, letters()) for one in found.rows] == ["abc<end>", "e<end>"]
    assert (found.dropped, found.cut, found.windows) == (1, 0, 0)


def test_a_cut_response_has_no_end_since_its_text_had_not_ended():
    tokenizer = letters()
    (whole,) = tokenise([row()], tokenizer, 1000).rows
    longest = whole.prompt_length + 6

    found = tokenise([row(), row(response="x")], tokenizer, longest, too_long="cut")

    assert [learnt(one, tokenizer) for one in found.rows] == [CODE[:6], "x<end>"]
    assert (found.dropped, found.cut, found.windows) == (0, 1, 0)


@pytest.mark.parametrize("too_long", ["cut", "split"])
def test_a_row_whose_prompt_leaves_no_room_is_left_out(too_long):
    found = tokenise([row()], letters(), 40, too_long=too_long)

    assert (len(found.rows), found.dropped, found.cut, found.windows) == (0, 1, 0, 0)


@pytest.mark.parametrize("longest", [8, 9, 33])
@pytest.mark.parametrize("tokenizer", [letters(), pieces()], ids=["no start", "start"])
def test_every_token_of_split_code_is_learnt_once(tokenizer, longest):
    (whole,) = tokenise([plain(CODE * 3)], tokenizer, 1000, "plain").rows

    found = tokenise([plain(CODE * 3)], tokenizer, longest, "plain", "split")

    assert Counter(targets(found.rows)) == Counter(targets([whole]))
    joined = [one.tokens[bool(number) :] for number, one in enumerate(found.rows)]
    assert np.concatenate(joined).tolist() == whole.tokens.tolist()
    assert max(len(one.tokens) for one in found.rows) == longest
    assert (found.dropped, found.cut, found.windows) == (0, 0, len(found.rows))


def test_the_text_that_a_model_goes_on_with_is_not_ended():
    tokenizer = pieces(ends=True)

    (tokens,) = asked_tokens(tokenizer, ["def add"], templated=False)

    assert tokens == tokenizer("def add")["input_ids"][:-1]
    assert tokens[0] == tokenizer.bos_token_id


def test_packed_rows_are_the_rows_one_by_one():
    tokenizer = starter("llama")
    given = [row(f"Add {n}.", "", "x" * (n % 5)) for n in range(CHUNK + 9)]
    given[3] = given[CHUNK] = plain(CODE)

    packed = tokenise(iter(given), tokenizer, 1000, "chat").rows

    assert len(packed) == len(given)
    for place in (0, 3, 4, CHUNK - 1, CHUNK, CHUNK + 8):
        (alone,) = tokenise([given[place]], tokenizer, 1000, "chat").rows
        assert packed[place].tokens.tolist() == alone.tokens.tolist()
        assert packed[place].prompt_length == alone.prompt_length


@pytest.mark.parametrize("number", [-1, 0])
def test_a_row_that_is_not_there_is_an_error(number):
    with pytest.raises(IndexError):
        Rows()[number]


def test_held_rows_take_four_bytes_a_token():
    tokenizer = starter("llama")
    given = [row(f"Add {n}.") for n in range(4 * CHUNK)]
    tracemalloc.start()

    rows = tokenise(given, tokenizer, 1000).rows
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    tokens = sum(len(one.tokens) for one in rows)
    assert held < 4.4 * tokens


def test_lengths_are_those_of_the_rows_that_are_trained_on():
    tokenizer = starter("falcon")
    given = [row(f"Add {n}.", "", "x = 1\n" * n) for n in range(60)] + [plain("")]
    sizes = [len(one.tokens) for one in tokenise(given, tokenizer, 10_000, "chat").rows]

    told = lengths(iter(given), "chat", tokenizer, (5, 20, 40, 80), name="falcon")

    expected = [
        sum(size < 20 for size in sizes),
        sum(20 <= size < 40 for size in sizes),
        sum(40 <= size < 80 for size in sizes),
        sum(size >= 80 for size in sizes),
    ]
    assert list(told.counts) == expected
    assert (told.longest, told.total, told.tokenizer) == (max(sizes), sum(sizes), "falcon")
    assert min(expected) > 0
