"""What the board narrows, orders, groups and draws: pure functions on entries."""

from dataclasses import replace
from datetime import timedelta

import altair as alt
import pytest
from plausible_rows import NOON
from test_leaderboard_words import BETTER, UNCLEAR, WORSE, spaced, standing

from database.anomalies import Anomaly
from database.costs import Cost, Price, Spell
from database.exchange import latex_text, rows_as_csv, rows_as_json, rows_as_latex
from leaderboard import charts, links, marks, ranking, tradeoffs
from leaderboard.entries import Entry, Filters, in_the_way, kept, size_of, size_words

FIELDS = ("method", "dataset", "model", "seed", "base")


def entry(run="r", value=0.5, delta=None, *, size=None, hours=None, odd=(), seeds=1, **more):
    """An entry; what a `Result` has may be given by name."""
    experiment = more.pop("experiment", "")
    of_result = {name: more.pop(name) for name in FIELDS if name in more}
    shown = standing(run, value, delta, **more)
    shown = replace(shown, result=replace(shown.result, **of_result))
    spell = Spell(device="H100", seconds=3600 * hours) if hours else None
    cost = Cost(asking=spell, prompt_tokens=1, tokens=7200, training=None, training_tokens=None)
    return Entry(
        standing=shown, name=f"name of {run}", experiment=experiment, size=size, seeds=seeds,
        cost=cost if hours else None, odd=tuple(odd),
    )  # fmt: skip


def names(found):
    return [one.run for one in found]


def row(one, price=None, form=ranking.table):
    columns = ranking.columns("pass@1", price)
    (found,) = form([one], columns)
    return {name: spaced(cell) if isinstance(cell, str) else cell for name, cell in found.items()}


def test_all_words_of_a_search_must_be_found_in_any_order_and_case():
    found = [
        entry("aaa", model="Falcon-7b", method="lora", dataset="oss", kind="tuned"),
        entry("bbb", model="falcon-7b", method="full", dataset="oss", kind="tuned"),
        entry("ccc", model="mistral", method="lora", dataset="evol", kind="tuned"),
    ]

    assert names(kept(found, Filters(words="LORA falcon"))) == ["aaa"]
    assert names(kept(found, Filters(words="oss"))) == ["aaa", "bbb"]
    assert names(kept(found, Filters(words="  CCC "))) == ["ccc"]
    assert kept(found, Filters(words="falcon evol")) == []


def test_filters_of_one_kind_widen_and_of_two_kinds_narrow():
    found = [
        entry("a", method="lora", dataset="oss", kind="tuned", size=7.0),
        entry("b", method="full", dataset="oss", kind="tuned", experiment="paper"),
        entry("c", method="lora", dataset="evol", kind="tuned"),
        entry("d", asked=163),
    ]

    assert names(kept(found, Filters(methods=("lora", "full")))) == ["a", "b", "c"]
    assert names(kept(found, Filters(methods=("lora",), datasets=("oss",)))) == ["a"]
    assert names(kept(found, Filters(kinds=("base",)))) == ["d"]
    assert names(kept(found, Filters(sizes=("7B",)))) == ["a"]
    assert names(kept(found, Filters(experiments=("paper",)))) == ["b"]
    assert kept(found, Filters()) == found


def test_scores_with_a_problem_unjudged_can_be_left_out():
    short = entry("short")
    partly = replace(
        short, standing=replace(short.standing, result=replace(short.standing.result, coverage=0.9))
    )

    assert names(kept([entry("whole"), partly], Filters(whole=True))) == ["whole"]


def test_the_filter_that_leaves_nothing_is_named():
    found = [entry("a", method="lora", kind="tuned"), entry("b", method="full", kind="tuned")]

    assert in_the_way(found, Filters(words="a", methods=("full",))) == ["words", "methods"]
    assert in_the_way(found, Filters(words="zzz", methods=("full",))) == ["words"]
    assert in_the_way(found, Filters(words="zzz", methods=("dora",))) == []


@pytest.mark.parametrize(
    ("model", "size", "said"),
    [("qwen2.5-coder-7b", 7, "7B"), ("deepseek-coder-6.7b-base", 6.7, "6.7B"),
     ("pythia-160m", 0.16, "160M"), ("mixtral-8x7B", 56, "56B"), ("falcon-tiny", None, ""),
     ("llama-3.2-1b", 1, "1B"), ("phi3base", None, ""), ("gpt-4", None, "")],
)  # fmt: skip
def test_the_size_of_a_model_is_what_its_name_says(model, size, said):
    assert size_of(model) == (pytest.approx(size) if size else None)
    assert size_words(size_of(model)) == said


def test_what_is_not_known_is_sorted_last():
    found = [entry("none"), entry("slow", hours=4, size=7.0), entry("quick", hours=1, size=1.0)]

    assert names(ranking.ordered(found, "GPU hours")) == ["quick", "slow", "none"]
    assert names(ranking.ordered(found, "Speed")) == ["quick", "slow", "none"]
    assert names(ranking.ordered(found, "Size")) == ["quick", "slow", "none"]


def test_the_rank_stays_when_the_order_changes():
    found = [
        entry("a", 0.9, UNCLEAR, model="zeta", rank=(1, 1)),
        entry("b", 0.5, BETTER, model="Alpha", recorded_at=NOON + timedelta(hours=1), rank=(2, 3)),
        entry("c", 0.1, model="beta", rank=(2, 3)),
    ]
    rank = next(column for column in ranking.columns("pass@1", None) if column.name == "Rank")

    def ranks(order):
        return [rank.cell(one).text for one in ranking.ordered(found, order)]

    assert ranks("Score") == ["1", "2-3", "2-3"]
    assert ranks("Gain over base") == ["2-3", "1", "2-3"]
    assert ranks("Model") == ["2-3", "2-3", "1"]
    assert ranks("Newest") == ["2-3", "1", "2-3"]


def test_grouped_by_base_every_base_stands_right_above_its_adapters():
    found = [
        entry("x1", 0.9, BETTER, base="x"),
        entry("y", 0.8),
        entry("x2", 0.7, BETTER, base="x"),
        entry("x", 0.6),
        entry("y1", 0.5, WORSE, base="y"),
        entry("alone", 0.4, BETTER, base="gone"),
    ]
    in_order, below = ranking.grouped(found)

    assert names(in_order) == ["x", "x1", "x2", "y", "y1", "alone"]
    assert below == ["x1", "x2", "y1"]
    rows = ranking.grid(in_order, ranking.columns("pass@1", None), below)
    assert [line["Model"][:2] for line in rows] == ["fa", "↳ ", "↳ ", "fa", "↳ ", "fa"]


def test_a_row_of_the_plain_table_opens_its_evidence():
    said = row(entry("70ned", 0.689, BETTER, rank=(1, 2), seeds=3))

    assert said["Rank"] == "1-2".replace("-", "\\-")
    assert said["Model"] == "[falcon](run?id=70ned)"
    assert said["Tuning"] == "lora on starter"
    assert said["pass@1"] == "[**68.9 %**](problems?benchmark=humaneval&contract=c&run=70ned)"
    assert said["vs base"] == (
        "[:green[▲ +41.3 points, better (37.0 to 45.6)]]"
        "(compare?a=70ned&b=b&benchmark=humaneval&metric=pass%401&contract=c)"
    )
    assert (said["Seed"], said["Problems"], said["Cost"]) == (
        "1 of 3 seeds",
        "163 of 164",
        "\u2013",
    )


def test_a_row_of_the_grid_holds_rounded_numbers_and_no_markdown():
    said = row(entry("70ned", 0.68902439, BETTER, model="a_b"), form=ranking.grid)

    assert said["pass@1"] == 68.9
    assert said["Model"] == "a_b"
    assert said["vs base"] == "▲ +41.3 points, better (37.0 to 45.6)"


def test_a_base_and_what_is_not_comparable_are_said():
    base = row(entry())
    refused = standing(kind="tuned")
    refused = replace(refused, result=replace(refused.result, why="asked with *another* prompt"))
    other = replace(entry(), standing=refused)

    assert (base["Tuning"], base["vs base"], base["Seed"]) == (
        ":gray-badge[base]", "\u2013", "\u2013",
    )  # fmt: skip
    assert row(other)["vs base"] == "not comparable\\: asked with \\*another\\* prompt"
    assert row(entry(kind="tuned"))["vs base"] == "no score of its base yet"


def test_columns_that_say_nothing_are_left_out():
    columns = ranking.columns("pass@1", None)
    there = {column.name for column in ranking.filled(columns, [entry(hours=1)])}

    assert {"Cost", "tok/s", "Model"} <= there
    assert not {"Flags", "Size", "Experiment", "Seed"} & there


def test_every_kind_of_flag_is_explained_once():
    odd = [Anomaly(kind="overlap", count=3, of=9, words=""),
           Anomaly(kind="older", count=12, of=99, words="")]  # fmt: skip
    said = marks.meanings([odd, odd, []])

    assert [line.split("]")[0] for line in said] == [
        ":orange-badge[overlap",
        ":orange-badge[newer than some problems",
    ]
    assert marks.meanings([[]]) == []


def test_costs_are_told_with_money_where_a_price_is_set():
    assert row(entry(hours=2), Price(3.0, "USD"))["Cost"].replace("\\", "") == (
        "2.0 h GPU, 6.00 USD"
    )


def test_the_line_goes_through_the_best_at_each_price_and_ties_are_told():
    found = [
        entry("dear", 0.8, size=70.0, rank=(1, 2)),
        entry("cheap", 0.5, size=1.0, rank=(4, 4)),
        entry("dominated", 0.4, size=7.0, rank=(5, 5)),
        entry("middle", 0.7, size=7.0, rank=(1, 3)),
        entry("tied", 0.69, size=13.0, rank=(2, 3)),
        entry("unknown", 0.9),
    ]
    points = tradeoffs.points(found, tradeoffs.AXES["Size"])

    assert {p.entry.run: p.place for p in points} == {
        "cheap": "on the line",
        "middle": "on the line",
        "dominated": "below the line",
        "tied": "tied with the line",
        "dear": "on the line",
    }
    said = spaced(tradeoffs.words(points, tradeoffs.AXES["Size"]))
    assert "name of cheap: 50.0 % at 1B; name of middle: 70.0 % at 7B; name of dear" in said


def test_the_line_is_the_upper_left_hull_of_steps():
    """Against the definition, pair by pair: no other is as cheap and better, or cheaper and as
    good."""
    found = [entry(f"{n}", ((n * 37) % 23) / 23, size=1.0 + (n * 11) % 7) for n in range(40)]
    points = tradeoffs.points(found, tradeoffs.AXES["Size"])
    prices = {(p.x, p.entry.standing.result.value) for p in points}

    def beaten(x, value):
        return any((a <= x and b > value) or (a < x and b >= value) for a, b in prices)

    on_the_line = {(p.x, p.entry.standing.result.value) for p in points if p.place == "on the line"}
    assert on_the_line == {(x, value) for x, value in prices if not beaten(x, value)}


def test_an_axis_is_offered_where_two_prices_differ():
    assert tradeoffs.known([entry("a", size=7.0), entry("b", size=7.0)]) == []
    assert tradeoffs.known([entry("a", size=7.0, hours=1), entry("b", size=1.0, hours=2)]) == [
        "Size",
        "GPU hours",
    ]


def test_charts_draw_no_more_than_can_be_read():
    many = [standing(f"r{n}", 0.5) for n in range(charts.DRAWN + 7)]
    drawn = charts.interval_plot(many)

    assert len(drawn["data"]["values"]) == charts.DRAWN
    assert charts.interval_words(many).count(";") == charts.DRAWN - 1


def test_the_chart_of_prices_keeps_to_the_schema_of_vega_lite():
    axis = tradeoffs.AXES["Size"]
    points = tradeoffs.points([entry("a", 0.5, size=1.0), entry("b", 0.4, size=2.0)], axis)
    drawn = tradeoffs.chart(points, axis)

    assert len(alt.LayerChart.from_dict(drawn).layer) == 2, "Vega-Lite's own schema checks it"
    assert [row["place"] for row in drawn["data"]["values"]] == [
        "on the line",
        "below the line",
    ]


HOSTILE = ["50% of_it & #1 {x} $y$ ~z ^ \\cmd", "[opt] *star <b>|", "a\nb\x00c", None, -1.5]


def unescaped(cell):
    """What LaTeX prints of an escaped cell, by its own rules; an unknown command fails."""
    commands = {"textbackslash{}": "\\", "textasciitilde{}": "~", "textasciicircum{}": "^",
                "textless{}": "<", "textgreater{}": ">", "textbar{}": "|"}  # fmt: skip
    out, at = "", 0
    while at < len(cell):
        letter, rest = cell[at], cell[at + 1 :]
        if letter == "\\":
            command = next((c for c in commands if rest.startswith(c)), None)
            assert command or rest[0] in "&%$#_{}", f"unknown command in {cell!r}"
            out += commands[command] if command else rest[0]
            at += 1 + len(command or rest[0])
        elif cell[at : at + 3] == "$-$":
            out, at = out + "-", at + 3
        elif cell[at : at + 3] in ("{[}", "{*}"):
            out, at = out + cell[at + 1], at + 3
        else:
            assert letter not in "&%$#_{}^", f"{letter} is not escaped in {cell!r}"
            out, at = out + (" " if letter == "~" else letter), at + 1
    return out


@pytest.mark.parametrize("value", HOSTILE)
def test_latex_prints_every_text_to_the_letter_on_one_line(value):
    said = "" if value is None else str(value)
    for gone in "\n\x00":
        said = said.replace(gone, " ")

    assert unescaped(latex_text(value)) == said


def test_the_latex_table_is_balanced_and_has_a_cell_for_every_column():
    rows = ranking.paper_rows(
        [entry("a", 0.689, BETTER, model="we_ird & 100%"), entry("b", 0.5, WORSE), entry("c")]
    )
    lines = rows_as_latex(rows).splitlines()

    assert lines[1] == "\\begin{tabular}{lllllll}"
    assert [lines[2], lines[4], *lines[-2:]] == [
        "\\toprule", "\\midrule", "\\bottomrule", "\\end{tabular}",
    ]  # fmt: skip
    body = [lines[3], *lines[5:-2]]
    assert len(body) == 4
    for line in body:
        assert line.endswith(" \\\\")
        cells = line.removesuffix(" \\\\").split(" & ")
        assert len(cells) == 7
        assert all(unescaped(cell) is not None for cell in cells)
    assert unescaped(body[1].removesuffix(" \\\\").split(" & ")[6]) == (
        "+41.3 points, better (37.0 to 45.6)"
    )
    assert unescaped(body[2].split(" & ")[6].removesuffix(" \\\\")).startswith(
        "-20.0 points, worse"
    )


def test_files_of_a_page_hold_its_rows():
    rows = [{"a": 1, "b": [1, 2], "c": NOON}, {"a": None, "b": {"x": 'quo"te'}, "c": NOON}]

    assert rows_as_csv(rows).splitlines()[0] == "a,b,c"
    assert rows_as_csv(rows).splitlines()[2].startswith(',"{""x"": ""quo\\""te""}",')
    assert '"2026-11-20T12:00:00+00:00"' in rows_as_json(rows)
    assert rows_as_csv([]) == "\n"


def test_an_address_quotes_whatever_is_in_a_name():
    assert links.problem_link("a b", "c", "x/(1)&id=2", "[x]") == (
        "[\\[x\\]](problem?benchmark=a%20b&contract=c&id=x%2F%281%29%26id%3D2)"
    )
    assert links.try_link(["a", "b"], "Try") == "[Try](try?m=a&m=b)"
    assert links.compare_link(["a", "b", "c"], "x").endswith("(compare?a=a&b=b&c=c)")
    assert links.methods_link("x", "ranks", "c" * 12) == f"[x](methods?contract={'c' * 12}#ranks)"
    assert links.address("problems", page="2", label="a") == "problems?page=2&label=a"
    assert links.completion_link("i", "x") == "[x](completion?id=i)"
