"""The words for what is odd about a score and for what it cost."""

import pytest
from pages import board, page, run_script
from plausible_rows import ASKING, BASE, NOON, TUNED, small_ledger
from rich.console import Console

from database import write
from database.anomalies import Anomaly
from database.costs import Cost, Price, Spell
from database.facts import Result, Standing
from database.schema import Answered, Completion, Generation
from jobs.results import show_results
from leaderboard import marks
from leaderboard.words import plain

__all__ = ["board"]

H200 = "NVIDIA H200"
PRICE = Price(2.5, "USD")


def spaced(text):
    return text.replace("\u00a0", " ")


def standing(run="r", **more):
    result = Result(
        run=run,
        model="falcon",
        base=None,
        method=None,
        dataset=None,
        seed=0,
        benchmark="humaneval",
        metric="pass@1",
        value=0.5,
        low=0.4,
        high=0.6,
        problems=164,
        completions=1,
        contract="c",
        delta=None,
    )
    given = {"asked": 164, "asking": "a", "judging": "j", "recorded_at": NOON} | more
    return Standing(result=result, label="falcon", kind="base", **given)


def odd(kind, count=12, words="12 of 164 answers are odd"):
    return Anomaly(kind=kind, count=count, of=164, words=words)


def cost(**more):
    given = {
        "asking": Spell(device=H200, seconds=180.0),
        "prompt_tokens": 4_000,
        "tokens": 9_000,
        "training": Spell(device=H200, seconds=7200.0),
        "training_tokens": 122_880,
        "gained": 5.0,
    }
    return Cost(**(given | more))


@pytest.mark.parametrize(
    "kind, said",
    [
        ("extraction", "no program: 7.3 %"),
        ("empty", "empty: 12 answers"),
        ("length", "cut off: 7.3 %"),
        ("identical", "same as its base: 7.3 %"),
        ("overlap", "overlap: 12 problems"),
        ("prefilled", "function named for one side"),
        ("older", "newer than 12 problems"),
    ],
)
def test_a_badge_says_what_is_odd_and_how_much(kind, said):
    assert spaced(marks.badge(odd(kind))) == f":orange-badge[{said}]"


def test_a_page_says_once_what_two_metrics_share_and_shows_it_to_the_letter():
    found = {("r", "humaneval", "a", "j"): (odd("empty", words="1 of 2 are `*odd*`"),)}

    assert marks.sentences([standing(), standing()], found) == [
        r"**humaneval**, contract `c`: 1 of 2 are \`\*odd\*\`."
    ]


@pytest.mark.parametrize(
    "what, price, said",
    [
        (cost(), None, "2.0 h GPU"),
        (cost(), PRICE, "2.0 h GPU, 5.12 USD"),
        (
            cost(asking=Spell(device="cpu", seconds=40.0)),
            PRICE,
            "2.0 h GPU, 40 s CPU, 5.00 USD (training only)",
        ),
        (cost(training=None, asking=Spell(device="cpu", seconds=40.0)), PRICE, "40 s CPU"),
        (
            cost(training=None, asking=Spell(device="http://h:8/v1", seconds=40.0)),
            PRICE,
            "40 s server",
        ),
        (
            cost(training=Spell(device="cpu", seconds=40.0)),
            PRICE,
            "40 s CPU, 3 min GPU, 0.12 USD (asking only)",
        ),
        (cost(asking=None), PRICE, "2.0 h GPU, 5.00 USD (training only)"),
        (
            cost(training=None, asking=Spell(device=H200, seconds=1.0)),
            PRICE,
            "1.0 s GPU, under 0.01 USD",
        ),
    ],
)
def test_a_cost_in_short_tells_time_by_kind_of_device_and_money_of_gpus_only(what, price, said):
    assert spaced(marks.in_short(what, price)) == said


def test_a_cost_in_full_tells_everything_that_was_measured():
    assert marks.in_full(cost(), PRICE) == (
        "asked in 3 min on NVIDIA H200, 4,000 tokens read, 9,000 drawn, 50 a second; trained for "
        "2.0 h on NVIDIA H200, 122,880 tokens, +2.5 points for each GPU hour of it; 5.12 USD at "
        "2.5 USD for a GPU hour"
    )


def test_points_of_a_short_training_are_not_told_as_if_it_went_on_for_an_hour():
    short = cost(asking=None, training=Spell(device="cpu", seconds=60.0), gained=40.0)

    said = marks.in_full(short, None)

    assert said == "trained for 1 min on cpu, 122,880 tokens, +40.0 points for 1 min"


def test_what_was_not_measured_is_not_told():
    assert marks.in_full(cost(asking=None, tokens=None, prompt_tokens=None, gained=None), None) == (
        "trained for 2.0 h on NVIDIA H200, 122,880 tokens"
    )


@pytest.fixture
def measured(board):
    """Of the tuned run one answer is empty, and both runs were asked on a GPU for half an hour."""
    rows = small_ledger()
    next(r for r in rows if isinstance(r, Completion) and r.run == TUNED).text = "\n"
    next(r for r in rows if isinstance(r, Answered) and r.run == TUNED).blank = 1
    write(board, rows)
    for run in (BASE, TUNED):
        asked = Generation(
            run=run,
            benchmark="humaneval",
            asking=ASKING.id,
            device=H200,
            seconds=1800.0,
            prompt_tokens=4_000,
            tokens=9_000,
        )
        write(board, [asked])
    return board


def test_the_board_shows_flags_and_costs_beside_the_scores(measured, monkeypatch):
    monkeypatch.setenv("CODELADDER_GPU_HOUR", "3 USD")

    shown = page(plain="true").table[0].value

    assert [spaced(cell) for cell in shown["Flags"]] == [":orange-badge[empty: 1 answer]", "\u2013"]
    assert [spaced(cell) for cell in shown["Cost"]] == [plain("30 min GPU, 1.50 USD")] * 2


def test_a_price_that_is_none_is_a_warning_and_the_page_stays(measured, monkeypatch):
    monkeypatch.setenv("CODELADDER_GPU_HOUR", "cheap")

    app = page(plain="true")

    assert "'cheap'" in app.warning[0].value
    assert [spaced(cell) for cell in app.table[0].value["Cost"]] == ["30 min GPU"] * 2


def test_the_page_of_a_run_says_both_in_full(measured):
    said = "\n".join(block.value for block in page(run_script, id=TUNED).markdown)

    assert "1 of 80 answers are empty" in said
    assert "4,000 tokens read, 9,000 drawn".replace(",", "\\,") in said


def test_the_results_in_a_terminal_have_a_column_for_it_where_there_is_something(measured, capsys):
    show_results(measured, None, Console(width=220))

    assert "1 of 80 answers are empty" in capsys.readouterr().out
