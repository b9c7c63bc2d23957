"""What `python -m jobs prepare` says of a dataset."""

import io
import subprocess
import sys

from plausible_reports import plausible_report, source
from rich.console import Console

from jobs.data.report import Drop
from jobs.prepared import show_report
from jobs.recipes import ROOT


def said(report):
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    show_report(report, console)
    return console.file.getvalue()


def test_everything_that_the_report_counts_is_said():
    text = said(plausible_report())

    for part in (
        "CC-BY-NC-4.0",
        "longest_line",
        "4,200 of 5,000 nominated were tried, 800 were not; 2 solved",
        "The sandbox failed 1 times",
        "Compared with: humaneval, mbpp",
        "Attribution: MBPP by Google Research",
    ):
        assert part in text


def test_what_a_row_or_a_name_says_cannot_steer_the_terminal():
    title = "\x1b]0;owned\x07\x1b[2J"
    drop = Drop(source="[/x]", step="filters", reason="letters", rows=1, examples=(title,))
    report = plausible_report(
        dataset="[bold", sources=(source(name="[/x]"),), drops=(drop,), terms=(title,)
    )

    text = said(report)

    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[/x]" in text


def test_a_recipe_elsewhere_is_a_mistake_that_says_where_they_lie(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("description: d\n")

    done = subprocess.run(
        [sys.executable, "-m", "jobs", "prepare", str(recipe)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert done.stderr == f"{recipe}: recipes of datasets lie in datasets/train/\n"
