"""Where answers end, with tokenizers that say a token otherwise at the start of a text."""

import re
from types import SimpleNamespace

import pytest
from small_tokenizers import pieces, starter

from jobs.generation.rows import Prompt, Row
from jobs.generation.stops import Stops

ANSWER = "\n    return a + b\n[DONE]\nprint( add(1, 2) )\nNow you  see.\n"


def told(tokenizer, stop, room=1000, answer=ANSWER):
    """A row that was given the tokens of an answer one by one until it was finished."""
    loaded = SimpleNamespace(tokenizer=tokenizer, ends=frozenset({tokenizer.eos_token_id}))
    prompt = tokenizer("Add two numbers:", add_special_tokens=False)["input_ids"]
    whole = tokenizer("Add two numbers:" + answer, add_special_tokens=False)["input_ids"]
    assert whole[: len(prompt)] == prompt
    row, stops = Row(Prompt("p", tuple(prompt), room), 0), Stops(loaded, stop)
    for token in [*whole[len(prompt) :], tokenizer.eos_token_id]:
        if stops.take(row, token):
            return row
    return row


@pytest.mark.parametrize("tokenizer", [pieces(), starter("falcon")], ids=["pieces", "bytes"])
@pytest.mark.parametrize(
    "stop", ["print( ", "\n[DONE]", "you ", "you  ", " +", "    return ", "  see", "b\n", ") "]
)
def test_an_answer_ends_at_the_token_that_completes_a_stop_string(tokenizer, stop):
    row = told(tokenizer, (stop,))

    at = re.search(re.escape(stop), ANSWER)
    assert (row.text, row.finish) == (ANSWER[: at.start()], "stop")
    prompt = list(row.prompt.tokens)
    before = tokenizer.decode(prompt + row.tokens[:-1])
    assert stop not in before.removeprefix("Add two numbers:"), "it went on behind the string"


@pytest.mark.parametrize("tokenizer", [pieces(), starter("falcon")], ids=["pieces", "bytes"])
def test_an_answer_without_a_stop_string_ends_with_its_end_token_or_its_room(tokenizer):
    assert (told(tokenizer, ("nowhere ",)).text, told(tokenizer, ()).finish) == (ANSWER, "end")

    short = told(tokenizer, ("nowhere ",), room=3)
    assert (len(short.tokens), short.finish) == (3, "length")


def test_the_stop_string_that_stands_first_is_obeyed_whichever_is_found_first():
    row = told(pieces(), ("[DONE]", " + "))

    assert (row.text, row.finish) == ("\n    return a", "stop")
