"""The words, order and files of the leaderboard: pure functions."""

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta

import altair as alt
import pytest
from plausible_rows import BASE, NOON, TUNED, small_ledger

from database import open_ledger, queries, write
from database.comparisons import NOT_COMPARABLE, Difference
from database.exchange import as_csv, as_json
from database.facts import Result, Standing
from leaderboard import charts, ranking, words

BETTER = Difference(value=0.413, low=0.37, high=0.456, p=0.001, verdict="better")
UNCLEAR = Difference(value=-0.01, low=-0.05, high=0.03, p=0.6, verdict="no clear difference")
WORSE = Difference(value=-0.2, low=-0.3, high=-0.1, p=0.001, verdict="worse")


def spaced(text):
    return text.replace("\u00a0", " ")


def standing(run="r", value=0.5, delta=None, model="falcon", contract="c", **more):
    kind = more.pop("kind", "tuned" if delta else "base")
    ranks = more.pop("rank", (None, None))
    result = Result(
        run=run,
        model=model,
        base="b" if kind == "tuned" else None,
        method="lora" if kind == "tuned" else None,
        dataset="starter" if kind == "tuned" else None,
        seed=1,
        benchmark="humaneval",
        metric="pass@1",
        value=value,
        low=value - 0.05,
        high=value + 0.05,
        problems=163,
        completions=10,
        contract=contract,
        delta=delta,
        verdict=delta and delta.verdict,
        rank_low=ranks[0],
        rank_high=ranks[1],
    )
    given = {"asked": 164, "asking": "a", "judging": "j", "recorded_at": NOON} | more
    return Standing(result=result, label="a label", kind=kind, **given)


@pytest.mark.parametrize(
    ("delta", "said"),
    [
        (BETTER, "+41.3 points, better (37.0 to 45.6)"),
        (UNCLEAR, "-1.0 points, no clear difference (-5.0 to 3.0)"),
        (NOT_COMPARABLE, "not comparable"),
    ],
)
def test_a_difference_is_said_in_words(delta, said):
    assert spaced(words.difference(delta)) == said


def test_a_missing_difference_says_why():
    assert words.against_base(standing()) == "\u2013"
    assert words.against_base(standing(kind="tuned")) == "no score of its base yet"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0312, "31 ms"), (4.21, "4.2 s"), (40, "40 s"), (200, "3 min"), (9000, "2.5 h"),
     (4 * 86400, "4 days")],
)  # fmt: skip
def test_a_span_of_time_is_said_to_two_figures(seconds, said):
    assert words.span(seconds) == said


def test_moments_are_told_from_now():
    now = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

    assert words.ago(now - timedelta(seconds=40), now) == "40 s ago"
    assert words.ago(now, now) == "just now"


def test_a_name_is_shown_to_the_letter():
    hostile = "a_b*c* [x](javascript:alert(1)) <script> $x$ :red[y] `z`"

    escaped = words.plain(hostile)
    assert escaped.replace("\\", "") == hostile
    assert all(escaped[at - 1] == "\\" for at, c in enumerate(escaped) if c in "_*[]()<>$:`")


def test_long_text_is_cut_and_says_so():
    assert words.cut("x" * 20_000) == "x" * 20_000
    assert words.cut("x" * 20_123).endswith("\n... 123 more characters are not shown")


def test_the_headline_says_whether_the_tuning_helped():
    found = [standing(delta=delta) for delta in (BETTER, BETTER, UNCLEAR, WORSE)]

    assert ranking.headline([*found, standing()]) == (
        "2 of 4 tuned models are better than the base, 1 worse, 1 with no clear difference."
    )
    assert ranking.headline([standing(delta=BETTER)]).startswith("1 of 1 tuned model is better")
    assert ranking.headline([standing(delta=UNCLEAR)]).startswith("0 of 1 tuned model is better")
    assert "no tuned model has a base" in ranking.headline([standing()])


def test_the_contract_with_most_scores_comes_first():
    found = [standing(contract="old"), standing(contract="new"), standing(contract="new")]

    assert ranking.contracts(found) == ["new", "old"]


@pytest.fixture
def filled(tmp_path):
    engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    write(engine, small_ledger())
    yield engine
    engine.dispose()


def test_the_files_hold_every_field(filled):
    results = queries.scores(filled)
    rows = list(csv.DictReader(io.StringIO(as_csv(results))))
    objects = json.loads(as_json(results))

    assert [row["run"] for row in rows] == [entry["run"] for entry in objects] == [TUNED, BASE]
    assert float(rows[0]["delta_value"]) == objects[0]["delta"]["value"]
    assert (rows[1]["delta_verdict"], objects[1]["delta"]) == ("", None)


def test_the_charts_say_what_they_show(filled):
    found = queries.standings(filled)

    assert "falcon-tiny, lora on starter, seed 1: 87.5" in charts.interval_words(found)
    drawn = charts.interval_plot(found)
    assert len(alt.LayerChart.from_dict(drawn).layer) == 2, "Vega-Lite's own schema checks it"


def test_runs_of_one_name_are_told_apart():
    assert words.names_of([standing("a"), standing("b"), standing("c", model="x")]) == [
        "falcon, base (a)",
        "falcon, base (b)",
        "x, base",
    ]


@pytest.mark.parametrize("text", ["https://evil.example/x", "HTTP://a.b", "www.a.b", "me@a.org"])
def test_an_address_is_no_longer_one_that_markdown_makes_a_link_of(text):
    shown = re.sub(r"\\(.)", r"\1", words.plain(text))

    assert shown.replace("\u2060", "") == text
    assert not re.search(r"(?i)https?://|www\.|\w@\w", shown)


def test_what_is_no_address_stays_as_it_is():
    assert words.plain("pass@1 of a/b") == r"pass\@1 of a\/b"
