"""Claims: one driver works on a run, a silent one is replaced, a late one can write nothing."""

import pickle
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from plausible_rows import BASE, TUNED, base_run, tuned_run
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from database import write
from database.claims import (
    STALE_SECONDS,
    Claim,
    LostClaimError,
    beat,
    claim,
    holder,
    holders,
    release,
    require,
)
from database.clock import moment
from database.live import Claimed, Driver, Stop
from database.schema import Event, Run

ROOT = Path(__file__).parents[1]


@pytest.fixture
def known(ledger):
    """A ledger with two runs and two drivers."""
    drivers = [
        Driver(id=name, experiment=f"of {name}", host=f"node-{name}", process=7, cluster="c:1")
        for name in ("a", "b")
    ]
    write(ledger, [base_run(), tuned_run(), *drivers])
    return ledger


def silent_for(ledger, seconds):
    """Let a claim have been renewed last so long ago."""
    with ledger.connect().execution_options(writes=True) as connection, connection.begin():
        at = moment(ledger) - timedelta(seconds=seconds)
        connection.execute(update(Claimed).values(at=at))


def label_of(ledger):
    with ledger.connect() as connection:
        return connection.scalar(select(Run.label).where(Run.id == BASE))


def test_a_run_that_a_living_driver_holds_is_nobody_elses(known):
    held = claim(known, BASE, "a")

    assert held == Claim(run=BASE, driver="a", attempt=1)
    assert claim(known, BASE, "b") is None
    assert claim(known, TUNED, "b") == Claim(run=TUNED, driver="b", attempt=1)
    facts = holders(known, [BASE, TUNED])
    assert {run: (one.driver, one.host) for run, one in facts.items()} == {
        BASE: ("a", "node-a"),
        TUNED: ("b", "node-b"),
    }


def test_claiming_again_what_one_holds_changes_nothing(known):
    held = claim(known, BASE, "a")
    since = holder(known, BASE).since

    assert claim(known, BASE, "a") == held
    assert holder(known, BASE).since == since


def test_a_run_given_back_is_free_at_once_and_its_attempt_rises(known):
    release(known, claim(known, BASE, "a"))

    assert holder(known, BASE) is None
    assert claim(known, BASE, "b").attempt == 2
    assert claim(known, BASE, "a") is None


def test_a_driver_that_comes_back_to_what_it_gave_back_begins_another_attempt(known):
    release(known, claim(known, BASE, "a"))

    assert claim(known, BASE, "a").attempt == 2


@pytest.mark.parametrize(("silence", "taken"), [(-5, False), (5, True)])
def test_a_driver_is_replaced_when_it_was_silent_for_too_long(known, silence, taken):
    claim(known, BASE, "a")
    silent_for(known, STALE_SECONDS + silence)

    assert holder(known, BASE).alive is not taken
    assert (claim(known, BASE, "b") is not None) is taken


def test_a_beat_keeps_all_runs_of_a_driver_and_says_which_they_are(known):
    claim(known, BASE, "a")
    release(known, claim(known, TUNED, "a"))
    silent_for(known, STALE_SECONDS + 5)

    assert beat(known, "a") == {BASE}
    assert claim(known, BASE, "b") is None


def test_a_late_owner_learns_at_its_beat_that_it_lost_the_run(known):
    claim(known, BASE, "a")
    silent_for(known, STALE_SECONDS + 5)
    claim(known, BASE, "b")

    assert beat(known, "a") == frozenset()
    assert beat(known, "b") == {BASE}


def test_a_late_owner_can_write_nothing_and_is_told_who_has_the_run(known):
    late = claim(known, BASE, "a")
    silent_for(known, STALE_SECONDS + 5)
    new = claim(known, BASE, "b")

    with pytest.raises(LostClaimError, match="driver b has taken it over") as lost:
        write(known, [base_run(label="late")], late)
    assert (lost.value.run, lost.value.by) == (BASE, "b")
    assert label_of(known) != "late"
    write(known, [base_run(label="in time")], new)
    assert label_of(known) == "in time"


def test_a_late_owner_does_not_give_back_what_another_holds(known):
    late = claim(known, BASE, "a")
    silent_for(known, STALE_SECONDS + 5)
    new = claim(known, BASE, "b")
    release(known, late)

    assert holder(known, BASE).driver == new.driver


def test_silence_alone_loses_nothing_while_nobody_else_wants_the_run(known):
    held = claim(known, BASE, "a")
    silent_for(known, 10 * STALE_SECONDS)
    write(known, [base_run(label="slow")], held)

    assert label_of(known) == "slow"


def test_after_giving_a_run_back_nothing_is_written_with_the_old_claim(known):
    held = claim(known, BASE, "a")
    release(known, held)

    with pytest.raises(LostClaimError, match="it was given back"):
        write(known, [base_run(label="late")], held)


def test_the_error_crosses_processes():
    told = pickle.loads(pickle.dumps(LostClaimError(BASE, "b" * 32)))

    assert (told.run, told.by) == (BASE, "b" * 32)


def test_a_run_that_is_not_recorded_cannot_be_claimed(known):
    with pytest.raises(IntegrityError):
        claim(known, "unknown", "a")


def test_a_takeover_waits_for_a_transaction_of_the_owner(known):
    """Otherwise the owner's last rows could be stored after the new one began."""
    held = claim(known, BASE, "a")
    silent_for(known, STALE_SECONDS + 5)
    found = []
    thread = threading.Thread(target=lambda: found.append(claim(known, BASE, "b")))
    with known.connect().execution_options(writes=True) as connection, connection.begin():
        require(connection, held)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(10)

    assert found[0].attempt == 2


def test_moments_come_from_the_clock_of_the_database_unless_one_is_given(known):
    before = moment(known)
    write(known, [Stop(run=BASE), Stop(run=TUNED, at=before - timedelta(days=1))])
    with known.connect() as connection:
        at = dict(map(tuple, connection.execute(select(Stop.run, Stop.at))))

    assert before <= at[BASE] <= moment(known)
    assert at[TUNED] == before - timedelta(days=1)


CLAIMER = """
import sys
from database import open_ledger, write
from database.claims import claim, release
from database.schema import Event

url, name = sys.argv[1:]
engine = open_ledger(url)
print("ready", flush=True)
sys.stdin.readline()
for wanted in range(40):
    if held := claim(engine, "ba5eba5eba5e", name):
        kind = f"attempt {held.attempt} {name}"
        write(engine, [Event(run=held.run, kind=kind, message="")], held)
        release(engine, held)
"""


def test_of_many_processes_one_at_a_time_holds_a_run(known, ledger_url):
    command = [sys.executable, "-c", CLAIMER, ledger_url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    claimers = [subprocess.Popen([*command, name], **pipes) for name in "abcd"]
    for claimer in claimers:
        assert claimer.stdout.readline() == "ready\n"
    for claimer in claimers:
        claimer.stdin.write("\n")
        claimer.stdin.flush()
    assert [claimer.wait(60) for claimer in claimers] == [0] * 4
    for claimer in claimers:
        claimer.stdin.close()
        claimer.stdout.close()

    with known.connect() as connection:
        attempts = [int(kind.split()[1]) for kind in connection.scalars(select(Event.kind))]
    # Each attempt was one claimer's, and none was skipped: nobody replaced a living one.
    assert sorted(attempts) == list(range(1, len(attempts) + 1))
    assert len(attempts) > 4  # they did meet, and went on
