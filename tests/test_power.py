"""The smallest gap that a benchmark can tell, by simulation."""

import numpy as np
import pytest
from scipy import stats
from test_scores import results

from database.comparisons import difference_of, noise_of, pairs_of
from database.power import detectable_gap, smallest_gap


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


def test_a_gap_wider_than_the_share_of_discordant_problems_brings_its_own():
    assert detectable_gap(164, 0.01) == detectable_gap(164, 0.001) >= 6 / 164


def test_without_a_comparison_a_fifth_of_the_problems_is_taken_to_differ():
    assert smallest_gap(164, []) == detectable_gap(164, 0.2)


def test_of_single_answers_the_gap_follows_the_problems_that_differ():
    base = results([1] * 82 + [0] * 82)
    few, many = results([1] * 74 + [0] * 90), results([0] * 30 + [1] * 74 + [0] * 60)
    noises = [noise_of(pairs_of(tuned, base, 1)) for tuned in (few, many)]

    assert smallest_gap(164, noises[:1]) < smallest_gap(164, noises) < smallest_gap(164, noises[1:])


@pytest.mark.parametrize("size", [1, 4])
def test_the_gap_of_several_answers_is_found_four_times_in_five(size):
    """Two models with skills of their own: the tuned one is better by the gap on average."""
    chance = np.random.default_rng(6)
    families = [f"f{place // size}" for place in range(160)] if size > 1 else None

    def sides(gap):
        lift = np.repeat(chance.normal(gap, 0.15, 160 // size), size)
        skill = chance.uniform(0.3, 0.6, 160)
        return [
            results(chance.binomial(5, np.clip(rate, 0, 1)), n=5, families=families)
            for rate in (skill + lift, skill)
        ]

    gap = smallest_gap(160, [noise_of(pairs_of(*sides(0.05), 1)) for _ in range(5)])
    found = [difference_of(pairs_of(*sides(gap), 1)).verdict == "better" for _ in range(120)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.1)
