"""pass@k and its interval, against brute force, statsmodels and simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from database.scores import ProblemResult, method_of, pass_at_k, score


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

    assert ours.value == passed / n
    assert (ours.low, ours.high) == pytest.approx(
        proportion_confint(passed, n, method="wilson"), abs=1e-12
    )


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
    together = score(results(passes, families=families), 1)

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


@pytest.mark.parametrize(("problems", "n", "size"), [(20, 10, 1), (80, 1, 4)])
def test_the_interval_holds_where_few_problems_are_solved_and_those_almost_always(
    problems, n, size
):
    chance = np.random.default_rng(3)
    families = [f"f{place // size}" for place in range(problems)]
    held = 0
    for _ in range(300):  # chances of two answers to a problem, or in a family, correlate by 0.6
        rates = np.repeat(chance.beta(0.05 / 1.5, 0.95 / 1.5, problems // size), size)
        interval = score(results(chance.binomial(n, rates), n=n, families=families), 1)
        held += interval.low <= 0.05 <= interval.high

    assert held / 300 > 0.9


@pytest.mark.parametrize(("families", "size", "n"), [(25, 12, 1), (60, 1, 10), (9, 4, 5)])
def test_the_effective_number_of_problems_follows_the_variance_of_the_units(families, size, n):
    chance = np.random.default_rng(2)
    rates = np.repeat(chance.beta(1, 2, families), size)
    passes = chance.binomial(n, rates)
    names = [f"f{place // size}" for place in range(families * size)] if size > 1 else None
    means = (passes / n).reshape(families, size).mean(axis=1)
    with_eighths = np.array([*means.repeat(8), 0, 1])
    p = with_eighths.mean()
    more = p * (1 - p) / with_eighths.var() - 1
    discount = (stats.norm.ppf(0.975) / stats.t.ppf(0.975, families - 1)) ** 2
    problems = families * (1 + discount * more)

    ours = score(results(passes, n=n, families=names), 1)
    assert (ours.low, ours.high) == pytest.approx(
        proportion_confint(means.mean() * problems, problems, method="wilson"), abs=1e-9
    )


def test_units_that_pass_or_fail_whole_count_as_one_answer_each():
    families = [f"f{place // 10}" for place in range(100)]
    whole = score(results([place // 10 % 2 for place in range(100)], families=families), 1)

    assert (whole.low, whole.high) == pytest.approx(proportion_confint(5, 10, method="wilson"))


def test_a_family_that_holds_every_problem_is_none():
    passes = [1, 0] * 20
    assert score(results(passes, families=["all"] * 40), 1) == score(results(passes), 1)


def test_the_method_is_told():
    families = [str(place // 10) for place in range(100)]

    assert method_of(results([1] * 20)) == "Wilson over 20 problems"
    assert method_of(results([1] * 20, n=2)).endswith(
        "effective number of problems, over 20 problems"
    )
    assert method_of(results([1] * 100, families=families)).endswith("over 10 families")
    assert len(method_of(results([1] * 100_000, n=2))) <= 100
