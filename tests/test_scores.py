"""The statistics, against brute force, scipy's own and simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats

from database.scores import (
    NOT_COMPARABLE,
    ProblemResult,
    detectable_gap,
    family_of,
    paired_difference,
    pass_at_k,
    score,
)


def results(passes, n=1, families=None):
    return [
        ProblemResult(
            task_id=f"p{place}",
            family=families[place] if families else "",
            completions=n,
            passed=int(passed),
        )
        for place, passed in enumerate(passes)
    ]


@pytest.mark.parametrize(
    ("n", "c", "k"), [(5, 2, 1), (5, 2, 3), (6, 0, 2), (6, 6, 4), (7, 5, 3), (1, 1, 1)]
)
def test_pass_at_k_equals_the_share_of_draws_that_hold_a_pass(n, c, k):
    draws = list(itertools.combinations([True] * c + [False] * (n - c), k))

    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize(("n", "c", "k"), [(5, 6, 1), (5, -1, 1), (5, 2, 6), (5, 2, 0), (0, 0, 1)])
def test_pass_at_k_is_refused_where_it_is_undefined(n, c, k):
    with pytest.raises(ValueError, match="is undefined"):
        pass_at_k(n, c, k)


@pytest.mark.parametrize(("passed", "n"), [(0, 20), (20, 20), (100, 164), (1, 3), (1, 1)])
def test_one_answer_per_problem_gives_wilsons_interval(passed, n):
    ours = score(results([place < passed for place in range(n)]), 1)
    theirs = stats.binomtest(passed, n).proportion_ci(method="wilson")

    assert ours.value == passed / n
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize("passed", [0, 10])
def test_nothing_or_everything_solved_is_not_certain(passed):
    interval = score(results([passed] * 20, n=10), 1)

    assert interval.high - interval.low > 0.1


def test_the_value_is_the_mean_of_the_problems():
    uneven = [*results([1, 3], n=4), ProblemResult(task_id="more", completions=10, passed=5)]

    assert score(uneven, 2).value == pytest.approx(
        np.mean([pass_at_k(4, 1, 2), pass_at_k(4, 3, 2), pass_at_k(10, 5, 2)])
    )


def test_no_results_have_no_score():
    with pytest.raises(ValueError, match="no score"):
        score([], 1)


def test_problems_of_one_family_tell_less():
    passes = [place // 10 % 2 for place in range(100)]
    families = [str(place // 10) for place in range(100)]
    alone = score(results(passes), 1)
    together = score(results(passes, families=families), 1, unit=family_of)

    assert together.high - together.low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize("shape", [(0.5, 0.5), (5, 5), (9, 0.5)])
@pytest.mark.parametrize("n", [1, 10])
def test_the_interval_holds_the_truth_in_about_95_of_100_benchmarks(shape, n):
    chance = np.random.default_rng(7)
    truth = shape[0] / sum(shape)
    held = 0
    for _ in range(400):
        interval = score(results(chance.binomial(n, chance.beta(*shape, 30)), n=n), 1)
        held += interval.low <= truth <= interval.high

    assert held / 400 > 0.91


def test_the_difference_of_single_answers_is_mcnemars():
    tuned = results([1] * 14 + [0] * 3 + [1] * 10 + [0] * 13)
    base = results([0] * 14 + [1] * 3 + [1] * 10 + [0] * 13)
    difference = paired_difference(tuned, base)

    assert difference.value == pytest.approx(11 / 40)
    assert difference.p == pytest.approx(2 * stats.binom.cdf(3, 17, 0.5))
    assert difference.verdict == "better"
    assert 0 < difference.low < 11 / 40 < difference.high < 0.5


def test_the_permutation_test_agrees_with_every_sign_written_out():
    tuned, base = [9, 7, 4, 10, 6, 5, 8, 9], [5, 7, 5, 3, 2, 4, 6, 4]
    differences = (np.array(tuned) - np.array(base)) / 10
    signs = np.array(list(itertools.product([-1, 1], repeat=8)))
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9)

    ours = paired_difference(results(tuned, n=10), results(base, n=10))
    assert ours.p == pytest.approx(exact, abs=0.01)


def test_the_bootstrap_agrees_with_scipys_where_differences_are_many():
    chance = np.random.default_rng(3)
    base = chance.binomial(10, chance.beta(1, 2, 300))
    tuned = np.minimum(10, base + chance.integers(-2, 5, 300)).clip(0)
    theirs = stats.bootstrap(
        ((tuned - base) / 10,), np.mean, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval

    ours = paired_difference(results(tuned, n=10), results(base, n=10))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_swapping_the_sides_turns_the_verdict():
    strong, weak = results([1] * 30 + [0] * 10), results([0] * 30 + [0] * 10)

    assert paired_difference(strong, weak).verdict == "better"
    assert paired_difference(weak, strong).verdict == "worse"


def test_no_difference_seen_is_not_no_difference_proven():
    same = paired_difference(results([0] * 20), results([0] * 20))

    assert (same.value, same.p, same.verdict) == (0, 1, "no clear difference")
    assert same.low < -0.05 and same.high > 0.05


def test_equal_models_are_seldom_told_apart():
    chance = np.random.default_rng(11)
    named = 0
    for _ in range(200):
        skill = chance.beta(0.7, 1.5, 40)
        tuned, base = chance.binomial(5, skill), chance.binomial(5, skill)
        found = paired_difference(results(tuned, n=5), results(base, n=5))
        named += found.verdict != "no clear difference"

    assert named / 200 < 0.08


def test_the_same_results_give_the_same_figures():
    tuned, base = results([3, 1, 5, 0, 4], n=5), results([1, 1, 2, 0, 5], n=5)

    assert paired_difference(tuned, base) == paired_difference(tuned[::-1], base)


INCOMPARABLE = {
    "other problems": (results([1, 0, 1]), results([1, 0])),
    "no problems": ([], []),
    "too few answers for k": (results([1, 0], n=5), results([1, 0], n=1)),
}


@pytest.mark.parametrize(("tuned", "base"), INCOMPARABLE.values(), ids=INCOMPARABLE)
def test_not_comparable(tuned, base):
    assert paired_difference(tuned, base, 2) == NOT_COMPARABLE


@pytest.mark.parametrize(("problems", "discordant"), [(60, 0.2), (164, 0.3)])
def test_the_detectable_gap_is_found_four_times_in_five(problems, discordant):
    gap = detectable_gap(problems, discordant)
    won, lost, _ = (
        np.random.default_rng(5)
        .multinomial(
            problems,
            [(discordant + gap) / 2, (discordant - gap) / 2, 1 - discordant],
            size=2_000,
        )
        .T
    )
    seen = np.maximum(won + lost, 1)
    p = 2 * stats.binom.cdf(np.minimum(won, lost), seen, 0.5)

    assert np.mean(p < 0.05) == pytest.approx(0.8, abs=0.06)


def test_a_handful_of_problems_detects_nothing():
    assert detectable_gap(5, 0.2) is None
