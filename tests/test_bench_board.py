"""The benchmark of the board runs in small, on rows that agree with each other."""

import shutil

import pytest
from conftest import postgres_tool
from printed_figures import BENCHMARKS, figures_of, printed_by

from database import queries
from database.tallies import count_verdicts, tallies


@pytest.fixture
def bench(monkeypatch):
    """The script that makes the rows, beside its neighbours."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import board_rows

    return board_rows


def test_the_tallies_of_the_rows_are_those_of_their_verdicts(bench, ledger):
    bench.fill(ledger, bench.TINY)

    assert bench.TINY.verdicts == 6 * 5 * 12 * 2
    of_contract = {"benchmark": "mbpp", **contract_of(ledger)}
    read = tallies(ledger, **of_contract)
    assert len(read) == len(queries.runs(ledger)) == bench.TINY.runs == 6
    for run, results in read.items():
        assert results == count_verdicts(ledger, run=run, **of_contract)
        assert len(results) == 12


def contract_of(ledger):
    standing, *_ = queries.standings(ledger, benchmark="mbpp", metric="pass@1")
    return {"asking": standing.asking, "judging": standing.judging}


@pytest.mark.slow
def test_the_page_is_measured_on_both_databases():
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if shutil.which("chromium") is None:
        pytest.skip("Chromium is not installed")
    postgres_tool("initdb")

    done = printed_by(BENCHMARKS / "board.py", "--tiny")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "SQLite: 6 runs, 720 verdicts" in done.stdout
    found = figures_of(done.stdout)
    assert found.keys() == {
        "board_first_paint_s", "board_filter_s", "board_page_mb", "board_slowest_query_ms",
    }  # fmt: skip
    assert all(float(value) > 0 for value in found.values())
