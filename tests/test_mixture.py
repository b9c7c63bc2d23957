"""Which rows of a source are in a mixture, and how often."""

import numpy as np
import pytest

from jobs.data.mixture import repeats
from jobs.data.origin import Source

NUMBERS = np.arange(10_000, dtype=np.int64) * 3


def times(**said):
    return repeats(NUMBERS, Source(file="f.jsonl", licence="MIT", **said))


@pytest.mark.parametrize("weight", [1.0, 2.0, 5.0])
def test_a_whole_weight_writes_every_row_so_often(weight):
    assert (times(weight=weight) == weight).all()


@pytest.mark.parametrize("weight", [0.25, 0.5, 2.3])
def test_a_weight_with_a_fraction_writes_as_many_rows_as_it_says(weight):
    written = times(weight=weight)

    # The standard deviation of a binomial share of 10,000 is at most 0.005.
    assert written.mean() == pytest.approx(weight, abs=0.02)
    assert set(written.tolist()) == {int(weight), int(weight) + 1}


def test_a_limit_takes_exactly_so_many_and_a_smaller_one_a_part_of_these():
    many, few = (set(NUMBERS[times(most=most) > 0].tolist()) for most in (5000, 100))

    assert (len(many), len(few)) == (5000, 100)
    assert few < many


def test_a_limit_takes_rows_from_everywhere_in_the_source():
    taken = np.flatnonzero(times(most=1000))

    assert np.histogram(taken, bins=10, range=(0, 10_000))[0].min() > 50


def test_which_rows_are_taken_follows_from_their_numbers_alone():
    chosen = set(NUMBERS[times(weight=0.5) > 0].tolist())
    other = repeats(NUMBERS[::-1], Source(file="f.jsonl", licence="MIT", weight=0.5))

    assert set(NUMBERS[::-1][other > 0].tolist()) == chosen
