"""What scores cost; the figures are worked out by hand."""

import pytest
from plausible_rows import (
    ASKING,
    BASE,
    JUDGING,
    TUNED,
    base_run,
    judged,
    problems,
    small_ledger,
    tuned_run,
)

from database import LedgerError, write
from database.costs import Cost, Price, Spell, configured_price, cost_key, costs, price_of
from database.queries import standings
from database.schema import Checkpoint, Generation

H200 = "NVIDIA H200"


def generation(run, **more):
    given = {
        "run": run,
        "benchmark": "humaneval",
        "asking": ASKING.id,
        "device": H200,
        "seconds": 180.0,
        "prompt_tokens": 4_000,
        "tokens": 9_000,
    }
    return Generation(**(given | more))


def checkpoint(**facts):
    known = {"device": H200, "seconds": 1800.0, "ranks": 4, "tokens": 122_880} | facts
    return Checkpoint(run=TUNED, kind="adapter", path="p", sha256="c" * 64, steps=60, facts=known)


def cost_of(ledger, run):
    view = standings(ledger, benchmark="humaneval", metric="pass@1")
    found = costs(ledger, view)
    (standing,) = [standing for standing in view if standing.result.run == run]
    return found.get(cost_key(standing)), standing


def test_a_score_has_the_cost_of_its_asking_and_of_its_training(ledger):
    write(ledger, [*small_ledger(), generation(TUNED), checkpoint()])

    cost, standing = cost_of(ledger, TUNED)

    assert cost == Cost(
        asking=Spell(device=H200, seconds=180.0),
        prompt_tokens=4_000,
        tokens=9_000,
        training=Spell(device=H200, seconds=7200.0),
        training_tokens=122_880,
        gained=100 * standing.result.delta.value,
    )
    assert cost.tokens_per_second == 50.0
    assert cost.gpu_hours == pytest.approx(2.05)
    assert cost.points_per_hour == pytest.approx(50 * standing.result.delta.value)
    assert cost.money(Price(2.0, "USD")) == pytest.approx(4.10)


def test_where_no_difference_is_claimed_no_points_are_gained(ledger):
    right = [place % 3 == 0 for place in range(40)]
    more = [True, *right[1:-1], True]
    answers = [*judged(BASE, right), *judged(TUNED, more)]
    write(ledger, [ASKING, JUDGING, base_run(), tuned_run(), *problems(40), *answers, checkpoint()])

    cost, standing = cost_of(ledger, TUNED)

    assert standing.result.delta.verdict == "no clear difference"
    assert (cost.gained, cost.points_per_hour) == (None, None)


def test_a_base_has_the_cost_of_its_asking_alone(ledger):
    write(ledger, [*small_ledger(), generation(BASE, device="cpu")])

    cost, _ = cost_of(ledger, BASE)

    assert (cost.training, cost.training_tokens, cost.points_per_hour) == (None, None, None)
    assert (cost.gpu_hours, cost.money(Price(2.0, "USD"))) == (None, None)


def test_an_asking_under_another_contract_is_not_this_scores_cost(ledger):
    from database.schema import Contract

    other = Contract(id="asking000002", kind="asking", content={})
    write(ledger, [*small_ledger(), other, generation(BASE, asking=other.id)])

    assert cost_of(ledger, BASE)[0] is None


def test_a_checkpoint_of_an_older_version_tells_no_cost(ledger):
    write(ledger, [*small_ledger(), tuned_run()])  # its facts name neither seconds nor a device

    assert cost_of(ledger, TUNED)[0] is None


def test_nothing_in_view_costs_nothing(ledger):
    assert costs(ledger, []) == {}


@pytest.mark.parametrize(
    "device, hours", [("cpu", None), ("https://api.example.org/v1", None), (H200, 0.5)]
)
def test_only_time_on_a_gpu_of_ours_is_gpu_time(device, hours):
    assert Spell(device=device, seconds=1800.0).gpu_hours == hours


@pytest.mark.parametrize(
    "said, price",
    [
        ("2.49 USD", Price(2.49, "USD")),
        (" 3  EUR ", Price(3.0, "EUR")),
        ("", None),
        ("  ", None),
    ],
)
def test_a_price_is_an_amount_and_a_currency(said, price):
    assert price_of(said) == price


@pytest.mark.parametrize(
    "said",
    ["2.49", "USD", "-1 USD", "0 USD", "1e3 USD", "nan USD", "2,49 EUR", "2 usd", "2 $", "٢ USD"],
)
def test_nonsense_is_no_price_and_the_message_shows_one(said):
    with pytest.raises(LedgerError, match=r"'2\.49 USD'"):
        price_of(said)


def test_the_environment_names_the_price(monkeypatch):
    monkeypatch.setenv("CODELADDER_GPU_HOUR", "2.49 USD")
    assert configured_price() == Price(2.49, "USD")
    monkeypatch.delenv("CODELADDER_GPU_HOUR")
    assert configured_price() is None
