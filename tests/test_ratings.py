"""Ratings from votes, beside closed forms, another library's fit, and simulated voters."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit

from database.ratings import FEWEST, MEAN, POINTS, VoteCount, fit, ratings

Z = 1.959963984540054


def votes(a, b, /, **choices):
    return [VoteCount(run_a=a, run_b=b, choice=name, votes=n) for name, n in choices.items() if n]


def of(found, run):
    return next(rating for rating in found if rating.run == run)


@pytest.mark.parametrize("won, lost", [(20, 10), (30, 0), (15, 15), (200, 57)])
def test_of_two_models_the_chance_is_the_share_of_votes_with_half_a_vote_more_each(won, lost):
    found = fit(votes("tuned", "base", a=won, b=lost)).chance("tuned", "base")

    odds, error = (won + 0.5) / (lost + 0.5), (1 / (won + 0.5) + 1 / (lost + 0.5)) ** 0.5
    assert found.value == pytest.approx((won + 0.5) / (won + lost + 1))
    assert found.low == pytest.approx(expit(np.log(odds) - Z * error))
    assert found.high == pytest.approx(expit(np.log(odds) + Z * error))


def test_a_tie_is_half_a_vote_for_each_side_and_makes_the_interval_no_wider():
    tied = fit(votes("a", "b", a=10, tie=20, b=10)).chance("a", "b")
    split = fit(votes("a", "b", a=20, b=20)).chance("a", "b")

    assert tied.value == split.value == pytest.approx(0.5)
    assert split.low < tied.low < 0.5 < tied.high < split.high


def test_which_side_a_model_stood_on_changes_nothing():
    straight = fit(votes("a", "b", a=20, tie=3, b=10)).chance("a", "b")
    swapped = fit(votes("b", "a", a=10, tie=3, b=20)).chance("a", "b")

    assert straight == swapped


def simulated(strengths, each, random, ties=0.0):
    """Votes of people who prefer as Bradley and Terry say; of the closest, a share are ties."""
    found = []
    for i in range(len(strengths)):
        for j in range(i):
            chance = expit(strengths[i] - strengths[j])
            tie = 2 * ties * min(chance, 1 - chance)
            drawn = random.multinomial(each, [chance - tie / 2, tie, 1 - chance - tie / 2])
            counted = dict(zip(("a", "tie", "b"), map(int, drawn), strict=True))
            found += votes(str(i), str(j), **counted)
    return found


def test_the_fit_and_its_errors_are_those_of_a_logistic_regression():
    counts = simulated([0.0, 0.4, 1.0, 1.7], 40, np.random.default_rng(3), ties=0.3)
    total = {str(run): 3 * 40 for run in range(4)}
    rows, won, weights = [], [], []
    for count in counts:
        row = [(count.run_a == str(run)) - (count.run_b == str(run)) for run in range(1, 4)]
        rows.append(row)
        won.append({"a": 1, "b": 0, "tie": 0.5}[count.choice])
        weights.append(count.votes)
        more = count.votes * (1 / total[count.run_a] + 1 / total[count.run_b]) / 2
        rows += [row, row]
        won += [1, 0]
        weights += [more / 2, more / 2]
    model = sm.GLM(
        np.array(won, float),
        np.array(rows, float),
        family=sm.families.Binomial(),
        freq_weights=np.array(weights),
    )
    oracle = model.fit(tol=1e-12)
    score = np.array(rows).T * (np.array(won) - oracle.fittedvalues)
    bread = np.linalg.inv(-model.hessian(oracle.params))
    sandwich = bread @ (score * np.array(weights)) @ score.T @ bread

    ours = fit(counts)

    assert ours.strengths - ours.strengths[0] == pytest.approx([0, *oracle.params], abs=1e-6)
    for run in range(1, 4):
        error = sandwich[run - 1, run - 1] ** 0.5
        low, high = (oracle.params[run - 1] + sign * Z * error for sign in (-1, 1))
        found = ours.chance(str(run), "0")
        assert (logit(found.low), logit(found.high)) == pytest.approx((low, high), abs=1e-5)


@pytest.mark.parametrize("ties", [0.0, 0.6])
def test_intervals_hold_the_truth_as_often_as_they_say(ties):
    truth, random, draws = [0.0, 0.5, 1.2], np.random.default_rng(8), 300
    inside = np.zeros(2)
    for _ in range(draws):
        found = fit(simulated(truth, 15, random, ties))
        chance = found.chance("2", "0")
        inside[0] += chance.low <= expit(1.2) <= chance.high
        _, low, high = found.rating("0", found.runs)
        inside[1] += low <= MEAN + POINTS * (truth[0] - np.mean(truth)) <= high

    assert ((inside / draws) > 0.92).all()
    assert ((inside / draws) < 0.995).all()


def test_the_order_of_models_is_found_again():
    truth = [0.0, 2.0, 1.0, -1.0]
    found = ratings(simulated(truth, 60, np.random.default_rng(4)), {})

    assert [rating.run for rating in found] == ["1", "2", "0", "3"]
    assert np.mean([rating.value for rating in found]) == pytest.approx(MEAN)
    assert all(rating.low < rating.value < rating.high for rating in found)


def test_a_model_with_too_few_votes_is_not_rated_and_says_how_many_are_missing():
    found = ratings([*votes("a", "b", a=25, b=20), *votes("c", "b", a=FEWEST - 1)], {"c": "b"})

    assert of(found, "a").value > MEAN > of(found, "b").value
    assert (of(found, "c").value, of(found, "c").missing) == (None, 1)
    assert of(found, "c").against_base is None
    assert ratings(votes("a", "b", a=FEWEST - 1), {})[0].missing == 1
    assert ratings([], {}) == []


def test_both_bad_says_nothing_of_the_order():
    without = ratings(votes("a", "b", a=25, b=20), {})
    among = ratings(votes("a", "b", a=25, b=20, both_bad=40), {})
    only = ratings(votes("a", "b", both_bad=40), {})

    assert [rating.value for rating in among] == [rating.value for rating in without]
    assert [rating.both_bad for rating in among] == [40, 40]
    assert [(rating.value, rating.missing) for rating in only] == [(None, FEWEST)] * 2


def test_models_that_no_votes_connect_are_not_rated_on_one_scale():
    found = ratings([*votes("a", "b", a=40, b=20), *votes("c", "d", a=31, b=9)], {"c": "d"})

    assert of(found, "a").value > of(found, "b").value
    assert [of(found, run).apart for run in "abcd"] == [False, False, True, True]
    assert of(found, "c").value is of(found, "c").against_base is None
    joined = ratings(
        [*votes("a", "b", a=40, b=20), *votes("c", "d", a=31, b=9), *votes("b", "d", a=1)], {}
    )
    assert all(rating.value is not None for rating in joined)


def test_the_only_model_with_enough_votes_is_told_that_it_is_not_apart():
    found = ratings([*votes("a", "b", a=25), *votes("a", "c", a=10)], {})

    assert [(of(found, run).alone, of(found, run).missing) for run in "abc"] == [
        (True, 0),
        (False, FEWEST - 25),
        (False, FEWEST - 10),
    ]
    assert not any(rating.apart for rating in found)


def test_the_chance_is_told_against_the_own_base():
    counts = [*votes("tuned", "base", a=24, b=12), *votes("other", "base", a=6, b=30)]
    found = ratings(counts, {"tuned": "base", "other": "gone"})

    assert of(found, "tuned").against_base.value == pytest.approx(24.5 / 37, abs=0.01)
    assert of(found, "other").against_base is of(found, "base").against_base is None
