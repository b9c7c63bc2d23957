"""What depends on the scores shown together: ranks, adjusted p, the smallest gap."""

import pytest
from plausible_rows import ASKING, BASE, JUDGING, base_run, judged, problems, tuned_run
from statsmodels.stats.multitest import multipletests

from database import open_ledger, queries, write
from database.exchange import gap_in_words, rank_in_words
from database.in_view import family_size, gap_in_view, in_view

FEW_BETTER = [place % 3 == 0 or place in (1, 2, 4, 5, 7, 8) for place in range(40)]
"""Six problems of 40 more than the base solves: p = 0.03 where answers are single."""


@pytest.fixture
def views(tmp_path):
    """Standings of a base and of tuned runs, one answer to each of 40 problems."""
    engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    write(engine, [ASKING, JUDGING, base_run(), *problems(40)])
    write(engine, judged(BASE, [place % 3 == 0 for place in range(40)], n=1))

    def standings(*tuned):
        for seed, passes in enumerate(tuned):
            run = f"{seed:x}" * 12
            write(engine, [tuned_run(run, seed=seed), *judged(run, passes, n=1)])
        return queries.standings(engine)

    yield standings
    engine.dispose()


def test_a_difference_that_stands_alone_is_not_clear_among_many(views):
    (alone, _) = in_view(views(FEW_BETTER))
    assert (alone.result.verdict, alone.result.comparisons) == ("better", 1)

    found = in_view(views(*[FEW_BETTER] * 4))
    compared = [standing.result for standing in found if standing.result.delta]
    assert {result.verdict for result in compared} == {"no clear difference"}
    assert {result.delta.verdict for result in compared} == {"better"}
    assert family_size(found) == 4
    assert [result.p_holm for result in compared] == pytest.approx(
        list(multipletests([result.delta.p for result in compared], method="holm")[1])
    )


def test_runs_that_are_far_apart_have_one_rank_and_twins_share_it(views):
    found = in_view(views([1] * 40, [1] * 40))

    said = {standing.result.run: rank_in_words(standing.result) for standing in found}
    assert said == {"0" * 12: "1", "1" * 12: "1", BASE: "3"}


def test_near_runs_may_change_places(views):
    found = in_view(views([place % 2 for place in range(40)]))

    assert [rank_in_words(standing.result) for standing in found] == ["1-2", "1-2"]


def test_the_smallest_gap_is_said(views):
    found = views(FEW_BETTER)

    gap = gap_in_view(found)
    assert 0.1 < gap < 0.3
    assert gap_in_words(gap) == (
        f"Gaps under about {100 * gap:.0f} points cannot be told apart on this benchmark."
    )
    assert gap_in_words(None) == "No gap can be told apart on so few problems."


def test_nothing_in_view_is_no_mistake():
    assert in_view([]) == []
    assert family_size([]) == 0
