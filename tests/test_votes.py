"""Votes in the ledger, on both databases, and the route that takes them."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from test_serve import BASE, PATIENCE, TUNED, Scripted, served
from test_serve import ledger as serving_ledger

from database import write
from database.live import Vote
from database.ratings import VoteCount
from database.schema import Run
from database.votes import cast, vote_counts, voted_runs

__all__ = ["serving_ledger"]


def vote(number, choice="a", **more):
    given = {
        "id": f"{number:032x}",
        "run_a": TUNED,
        "run_b": BASE,
        "choice": choice,
        "blind": True,
        "instruction": "Add.",
        "answer_a": "1",
        "answer_b": "2",
    }
    return given | more


@pytest.fixture
def voted(ledger):
    base = Run(id=BASE, label="base", kind="base", model="m")
    write(ledger, [base, Run(id=TUNED, label="tuned", kind="tuned", model="m", base_run=BASE)])
    return ledger


def test_blind_votes_are_counted_by_pair_and_choice(voted):
    others = (vote(3, "tie"), vote(4, blind=False), vote(5, run_a=BASE, run_b=TUNED))
    for given in (vote(1), vote(2), *others):
        cast(voted, Vote(**given))

    assert vote_counts(voted) == [
        VoteCount(run_a=BASE, run_b=TUNED, choice="a", votes=1),
        VoteCount(run_a=TUNED, run_b=BASE, choice="a", votes=2),
        VoteCount(run_a=TUNED, run_b=BASE, choice="tie", votes=1),
    ]
    known = voted_runs(voted, [TUNED, "gone"])
    assert [(run.label, run.base_run) for run in known.values()] == [("tuned", BASE)]


def test_a_vote_is_stored_once_and_the_first_choice_stays(voted):
    assert cast(voted, Vote(**vote(1, "a"))) == "a"
    assert cast(voted, Vote(**vote(1, "b"))) == "a"

    assert [count.votes for count in vote_counts(voted)] == [1]


def test_of_votes_that_come_at_once_one_is_the_first_for_all(voted):
    choices = ["a", "b", "tie", "both_bad"] * 2
    with ThreadPoolExecutor(len(choices)) as pool:
        told = list(pool.map(lambda choice: cast(voted, Vote(**vote(1, choice))), choices))

    with Session(voted) as session:
        assert set(told) == {session.query(Vote).one().choice}


def test_a_vote_on_a_run_that_is_not_there_is_refused(voted):
    with pytest.raises(IntegrityError):
        cast(voted, Vote(**vote(1, run_b="gone")))


@pytest.fixture
def post(tmp_path, serving_ledger):
    """Post a vote to a running server."""
    with (
        served(tmp_path, serving_ledger, Scripted(), token="sesame") as address,
        httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False) as client,
    ):

        def posted(token="sesame", **body):
            headers = {"Authorization": f"Bearer {token}"}
            return client.post("/votes", json=body, headers=headers)

        yield posted


def stored(engine):
    with Session(engine) as session:
        return session.query(Vote).all()


def test_the_server_stores_a_vote_once_with_the_voters_name(post, serving_ledger):
    first = post(**vote(7, "both_bad", voter="Ada", answer_a=""))
    again = post(**vote(7, "a", voter="Ada"))

    assert first.json() == again.json() == {"id": f"{7:032x}", "choice": "both_bad"}
    (kept,) = stored(serving_ledger)
    assert (kept.voter, kept.choice, kept.answer_a, kept.answer_b) == ("Ada", "both_bad", "", "2")


WRONG = {
    "a choice that is none": (vote(1, "c"), "choice: "),
    "an id that is not random hex": (vote(1, id="1"), "id: "),
    "a run that is not there": (vote(1, run_a="aaaaaaaaaaab"), "no run 'aaaaaaaaaaab'"),
    "one run twice": (vote(1, run_a=BASE), "two different runs"),
    "no answer at all": (vote(1, answer_a="", answer_b=" "), "neither model has answered"),
    "an answer of megabytes": (vote(1, answer_b="x" * 200_001), "answer_b: "),
    "a misspelt key": (vote(1, chioce="a"), "chioce"),
}


@pytest.mark.parametrize("body, told", WRONG.values(), ids=WRONG)
def test_the_server_refuses_with_the_reason(post, serving_ledger, body, told):
    reply = post(**body)

    assert reply.status_code == 400
    assert told in reply.json()["error"]["message"]
    assert not stored(serving_ledger)


def test_a_vote_needs_the_token(post, serving_ledger):
    assert post(token="guess", **vote(1)).status_code == 403
    assert not stored(serving_ledger)
