"""A run against its base, and several at once: brute force, statsmodels, simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.api import OLS
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from test_scores import results

from database.comparisons import difference_of, holm, noise_of, pairs_of


def compared(tuned, base):
    return difference_of(pairs_of(tuned, base, 1))


def test_the_difference_of_single_answers_is_mcnemars():
    tuned = results([1] * 14 + [0] * 3 + [1] * 10 + [0] * 13)
    base = results([0] * 14 + [1] * 3 + [1] * 10 + [0] * 13)
    difference = compared(tuned, base)

    assert difference.value == pytest.approx(11 / 40)
    assert difference.p == pytest.approx(2 * stats.binom.cdf(3, 17, 0.5))
    assert difference.verdict == "better"
    assert 0 < difference.low < 11 / 40 < difference.high < 0.5


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (3, 0), (6, 1), (14, 3), (40, 38)])
def test_p_of_single_answers_is_statsmodels_mcnemar(won, lost):
    tuned = results([1] * won + [0] * lost + [1] * 9)
    base = results([0] * won + [1] * lost + [1] * 9)

    assert compared(tuned, base).p == pytest.approx(
        mcnemar([[9, won], [lost, 0]], exact=True).pvalue
    )


def test_the_sign_flip_test_is_every_sign_written_out():
    tuned, base = [9, 7, 4, 10, 6, 5, 8, 9], [5, 7, 5, 3, 2, 4, 6, 4]
    differences = (np.array(tuned) - np.array(base)) / 10
    signs = np.array(list(itertools.product([-1, 1], repeat=8)))
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9)

    ours = compared(results(tuned, n=10), results(base, n=10))
    assert ours.p == pytest.approx(exact, abs=1e-12)


def test_of_many_problems_the_sign_flip_test_agrees_with_scipys():
    chance = np.random.default_rng(8)
    base = chance.integers(0, 11, 60)
    tuned = np.clip(base + chance.integers(-3, 5, 60), 0, 10)
    theirs = stats.permutation_test(
        ((tuned - base) / 10,), np.mean, permutation_type="samples",
        n_resamples=9_999, rng=np.random.default_rng(2),
    )  # fmt: skip

    ours = compared(results(tuned, n=10), results(base, n=10))
    assert ours.p == pytest.approx(theirs.pvalue, abs=0.012)


def test_families_are_flipped_whole():
    families = [f"f{place // 5}" for place in range(30)]
    tuned, base = results([1] * 30, families=families), results([0] * 30, families=families)

    assert compared(tuned, base).p == pytest.approx(2 / 2**6)
    assert compared(results([1] * 30), results([0] * 30)).p == pytest.approx(2 / 2**30)


def test_the_bootstrap_of_few_problems_has_the_law_of_every_resample():
    tuned, base = [3, 1, 4], [1, 1, 2]
    differences = [*[2 / 4, 0, 2 / 4] * 2, -2 / 4, 2 / 4]  # the two pseudo-problems weigh half
    means = np.mean(list(itertools.product(differences, repeat=4)), axis=1)

    ours = compared(results(tuned, n=4), results(base, n=4))
    for bound, share in ((ours.low, 0.025), (ours.high, 0.975)):
        assert np.mean(means < bound - 1e-9) - 0.005 < share < np.mean(means < bound + 1e-9) + 0.005


def test_the_noise_of_families_is_statsmodels_clustered_standard_error():
    chance = np.random.default_rng(4)
    families = [f"f{place // 8}" for place in range(160)]
    tuned, base = chance.integers(0, 2, 160), chance.integers(0, 2, 160)
    sums = (tuned - base).reshape(20, 8).sum(axis=1)
    most = np.abs(sums).max() / 8
    differences = [*(tuned - base), *(tuned - base), *[most] * 8, *[-most] * 8]
    groups = np.repeat(np.arange(42), 8)
    fitted = OLS(differences, np.ones(336)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    of_one = (
        2 * (41 / 42) * (21 / 20)
    ) ** 0.5  # everything is in there twice, the pseudo-units once

    pairs = pairs_of(results(tuned, families=families), results(base, families=families), 1)
    noise = noise_of(pairs)
    assert noise.error == pytest.approx(float(fitted.bse[0]) * of_one)
    assert (noise.units, noise.single) == (20, False)
    assert noise.differing == np.mean(tuned != base)


@pytest.mark.parametrize("comparisons", [1, 2, 5, 12])
def test_holm_is_statsmodels(comparisons):
    chances = np.random.default_rng(comparisons).uniform(0, 0.2, comparisons).round(2).tolist()

    assert holm(chances) == pytest.approx(list(multipletests(chances, method="holm")[1]))


def test_the_bootstrap_agrees_with_scipys_where_differences_are_many():
    chance = np.random.default_rng(3)
    base = chance.binomial(10, chance.beta(1, 2, 300))
    tuned = np.minimum(10, base + chance.integers(-2, 5, 300)).clip(0)
    theirs = stats.bootstrap(
        ((tuned - base) / 10,), np.mean, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval

    ours = compared(results(tuned, n=10), results(base, n=10))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_swapping_the_sides_turns_the_verdict():
    strong, weak = results([1] * 30 + [0] * 10), results([0] * 30 + [0] * 10)

    assert compared(strong, weak).verdict == "better"
    assert compared(weak, strong).verdict == "worse"


def test_no_difference_seen_is_not_no_difference_proven():
    same = compared(results([0] * 20), results([0] * 20))

    assert (same.value, same.p, same.verdict) == (0, 1, "no clear difference")
    assert same.low < -0.05 and same.high > 0.05


def test_equal_models_are_seldom_told_apart():
    chance = np.random.default_rng(11)
    named = 0
    for _ in range(200):
        skill = chance.beta(0.7, 1.5, 40)
        tuned, base = chance.binomial(5, skill), chance.binomial(5, skill)
        found = compared(results(tuned, n=5), results(base, n=5))
        named += found.verdict != "no clear difference"

    assert named / 200 < 0.08


def test_the_same_results_give_the_same_figures():
    tuned, base = results([3, 1, 5, 0, 4], n=5), results([1, 1, 2, 0, 5], n=5)

    assert compared(tuned, base) == compared(tuned[::-1], base)


INCOMPARABLE = {
    "other problems": (results([1, 0, 1]), results([1, 0])),
    "no problems": ([], []),
    "too few answers for k": (results([1, 0], n=5), results([1, 0], n=1)),
}


@pytest.mark.parametrize(("tuned", "base"), INCOMPARABLE.values(), ids=INCOMPARABLE)
def test_not_comparable(tuned, base):
    assert pairs_of(tuned, base, 2) is None


def test_one_large_family_does_not_stretch_the_interval_beyond_all_and_nothing():
    families = ["large"] * 50 + [f"alone {place}" for place in range(100)]
    ours = results([1] * 150, families=families)
    theirs = results([0] * 150, families=families)

    difference = compared(ours, theirs)

    assert 0 < difference.low <= difference.value == difference.high == 1
    assert difference.verdict == "better"
