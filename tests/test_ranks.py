"""Rank intervals, against every resample of few problems."""

import itertools

import numpy as np
import pytest

from database.ranks import rank_intervals


def alone(problems):
    return [str(place) for place in range(problems)]


def by_brute_force(values, blocks):
    """Quantiles of the ranks over all resamples of the blocks, and how near the law jumps."""
    draws = itertools.product(blocks, repeat=len(blocks))
    resamples = [list(itertools.chain(*drawn)) for drawn in draws]
    means = np.array([values[:, drawn].mean(axis=1) for drawn in resamples])
    ranks = np.array([[1 + np.sum(row > own + 1e-9) for own in row] for row in means])
    bounds = np.quantile(ranks, [0.025, 0.975], axis=0, method="inverted_cdf")
    laws = [np.mean(ranks <= rank, axis=0) for rank in range(1, len(values))]
    near = min(np.abs(np.array(laws) - share).min() for share in (0.025, 0.975))
    return [(int(best), int(worst)) for best, worst in bounds.T], near


@pytest.mark.parametrize("seed", range(12))
def test_of_few_problems_the_ranks_are_those_of_every_resample(seed):
    values = np.random.default_rng(seed).integers(0, 3, (3, 5)) / 2
    expected, near = by_brute_force(values, [[place] for place in range(5)])

    if near > 0.01:  # else chance decides which side of a jump the draws fall on
        assert rank_intervals(values, alone(5)) == expected


@pytest.mark.parametrize("seed", range(6))
def test_families_are_drawn_whole(seed):
    values = np.random.default_rng(seed).integers(0, 2, (3, 8)).astype(float)
    blocks = [[0, 1], [2, 3, 4], [5], [6, 7]]
    units = ["a", "a", "b", "b", "b", "c", "d", "d"]
    expected, near = by_brute_force(values, blocks)

    if near > 0.01:
        assert rank_intervals(values, units) == expected


def test_equal_models_share_their_rank():
    same = np.array([[1.0, 0, 1, 0]] * 2 + [[0.0, 0, 0, 0]])

    assert rank_intervals(same, alone(4))[:2] == [(1, 1), (1, 1)]


def test_one_model_is_the_first():
    assert rank_intervals(np.array([[1.0, 0.0]]), alone(2)) == [(1, 1)]


def test_models_far_apart_have_one_rank_each_and_near_ones_share_two():
    chance = np.random.default_rng(1)
    rates = np.array([0.9, 0.5, 0.5, 0.1])
    values = chance.binomial(1, rates[:, None], (4, 164)).astype(float)

    ranks = rank_intervals(values, alone(164))
    assert (ranks[0], ranks[3]) == ((1, 1), (4, 4))
    assert ranks[1] == ranks[2] == (2, 3)
