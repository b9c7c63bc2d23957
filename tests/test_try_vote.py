"""A blind vote on the page, and what must not give the names away."""

import json
import re

import pytest
from streaming_server import MODELS
from test_try_page import captions, page, press, server, texts

from database import open_ledger
from database.live import Vote
from database.schema import Run
from database.writing import write
from leaderboard import people, try_turns
from leaderboard.serving import Model
from leaderboard.streams import Answer
from leaderboard.try_vote import not_yet

__all__ = ["server"]


@pytest.fixture
def asked(server):
    app = page(blind="true")
    press(app, "Ask")
    return app


def everything(app):
    """All that the page shows, but for the list that models are chosen from."""
    kinds = (app.markdown, app.caption, app.code, app.button, app.success, app.error, app.table)
    shown = [repr(getattr(one, "label", "")) + repr(one.value) for kind in kinds for one in kind]
    address = {name: value for name, value in app.query_params.items() if name != "m"}
    said = "\n".join(shown).replace("\\", "") + json.dumps(address)
    return re.sub(r"&m=\w+", "", said)  # in the link of the page, in the order of that list


def order(app):
    return [answer.model.id for answer in app.session_state["turns"][-1].answers]


def test_names_are_nowhere_until_the_vote_and_then_shown(asked, server):
    said = everything(asked)
    assert "Model A" in said
    assert "Model B" in said
    assert not [name for name in (*MODELS, *MODELS.values()) if name in said]
    assert "tokens/s" not in said
    assert "first token" not in said
    (record,) = json.loads(try_turns.as_json(asked.session_state["turns"]))
    assert [answer["run"] for answer in record["answers"]] == [None, None]

    press(asked, "A is better")

    told = everything(asked)
    first, second = order(asked)
    assert f"Model A: {MODELS[first]}" in told
    assert f"Model B: {MODELS[second]}" in told
    assert "Your vote: **A is better**" in told
    assert "tokens/s" in told


def test_the_vote_is_stored_with_its_answers(asked, server, monkeypatch):
    monkeypatch.setattr(people, "name", lambda: "Ada")
    press(asked, "Both bad")

    (vote,) = server.voted
    assert [vote["run_a"], vote["run_b"]] == order(asked)
    assert (vote["choice"], vote["blind"], vote["voter"]) == ("both_bad", True, "Ada")
    assert vote["instruction"].startswith("Write a function")
    assert vote["answer_a"].strip() == texts(asked)[0].strip()
    assert vote["id"] == asked.session_state["turns"][0].id
    assert not [button for button in asked.button if button.label == "Tie"]


def test_a_vote_that_is_not_stored_leaves_the_names_hidden_and_can_be_made_again(asked, server):
    server.error = "the ledger is full"
    press(asked, "Tie")

    assert "the ledger is full" in asked.error[0].value
    assert MODELS["70ned"] not in everything(asked)
    server.error = None
    press(asked, "Tie")
    assert len(server.voted) == 1
    assert not asked.error


def test_no_vote_counts_where_an_answer_failed_or_was_stopped_before_its_first_word(server):
    server.error = "out of memory"
    app = page(blind="true")
    press(app, "Ask")

    assert not [button for button in app.button if button.label == "Tie"]
    assert "no vote on these counts" in everything(app)
    assert not [name for name in MODELS.values() if name in everything(app)]
    press(app, "Show the names without a vote")
    assert MODELS["70ned"] in everything(app)


@pytest.mark.parametrize(
    ("state", "text", "counts"),
    [
        ("Done", "", True),
        ("Done", "x", True),
        ("Answering", "x", True),
        ("Stopped", "x", True),
        ("Queued", "", False),
        ("Stopped", "", False),
        ("Failed", "", False),
        ("Failed", "x", False),
    ],
)
def test_a_vote_counts_where_each_model_had_its_say(state, text, counts):
    written = Answer(Model("1", "1"), text="x", state="Done")
    other = Answer(Model("2", "2"), text=text, state=state)

    assert (not_yet([written, other]) == "") is counts
    assert (not_yet([other, written]) == "") is counts


def test_both_orders_come_up(server):
    app = page(blind="true")
    orders = set()
    for _ in range(40):
        press(app, "Ask")
        orders.add(tuple(order(app)))
        if len(orders) == 2:
            return
    raise AssertionError(orders)


def test_names_can_be_seen_without_a_vote_and_then_none_is_taken(asked, server):
    press(asked, "Show the names without a vote")

    assert MODELS["70ned"] in everything(asked)
    assert not [button for button in asked.button if button.label == "Tie"]
    assert server.voted == []


def test_who_knows_the_names_asks_again_without_a_vote(asked):
    press(asked, "Ask again")
    assert asked.session_state["turns"][-1].hidden

    press(asked, "Show the names without a vote")
    press(asked, "Ask again")
    assert not asked.session_state["turns"][-1].blind
    assert not [button for button in asked.button if button.label == "Tie"]


def test_only_members_vote(server, monkeypatch):
    monkeypatch.setattr(people, "may_act", lambda: False)
    app = page(blind="true")
    press(app, "Ask")

    assert "Only members may vote." in captions(app)
    assert not [button for button in app.button if button.label == "Tie"]


def test_a_surprise_names_no_models_before(server):
    app = page(blind="true")
    app.segmented_control(key="pair").set_value("Surprise me").run()
    press(app, "Ask")

    assert not app.multiselect
    assert sorted(order(app)) == sorted(MODELS)
    assert "m" not in app.query_params


def test_a_blind_vote_needs_two_models(server):
    app = page(blind="true", m=["70ned"])
    press(app, "Ask")

    assert "needs two models" in app.warning[0].value
    assert server.asked == []


def test_a_click_that_comes_right_after_a_change_asks_what_the_form_says_then(server):
    app = page()
    app.toggle(key="blind").set_value(True)
    press(app, "Ask")

    assert app.session_state["turns"][0].blind


def test_a_problem_that_a_model_failed_is_not_offered_in_a_blind_vote(server):
    app = page(blind="true")

    assert not [button for button in app.button if button.key == "use_failed"]


def voted(*choices):
    engine = open_ledger()
    runs = [Run(id="ba5e", label="the base", kind="base", model="m")]
    runs.append(Run(id="70ned", label="tuned *it*", kind="tuned", model="m", base_run="ba5e"))
    told = {"blind": True, "instruction": "x", "answer_a": "1", "answer_b": "2"}
    votes = [
        Vote(id=f"{n:032x}", run_a="70ned", run_b="ba5e", choice=choice, **told)
        for n, choice in enumerate(choices)
    ]
    write(engine, [*runs, *votes])
    engine.dispose()


def test_what_people_preferred_stands_below_with_what_it_means(server):
    voted(*["a"] * 24, *["b"] * 6, *["both_bad"] * 2)
    app = page()
    table = app.table[0].value

    assert list(table["Model"]) == ["tuned \\*it\\*", "the base"]
    assert table["Preferred to its base"].iloc[0].startswith("79.0\u00a0% (")
    assert list(table["Votes"]) == ["30", "30"]
    assert list(table["Both bad"]) == ["2", "2"]
    assert any("No vote changes" in m.value or "no vote changes" in m.value for m in app.markdown)


def test_under_thirty_votes_there_is_no_rating_but_how_many_are_missing(server):
    voted(*["a"] * 29)
    app = page()

    assert set(app.table[0].value["Rating"]) == {"not rated: 1 more vote needed"}
