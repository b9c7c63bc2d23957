"""The documentation is true where a machine can tell."""

import re
import subprocess
from pathlib import Path

import pytest

from jobs.experiment import Asking, ExperimentFile, ModelSpec
from jobs.methods import DoRA, Full, LoRA, Parallelism, QLoRA
from jobs.remote.server import Server

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())

    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]

    assert dead == []


def test_every_module_named_in_the_tree_of_the_readme_exists():
    tree = README.split("## The tree")[1].split("```")[1]
    folder = ""
    missing = []
    for line in tree.splitlines():
        top = re.match(r"([\w/]+)/ ", line)
        folder = top.group(1) if top else folder
        missing += [
            f"{folder}/{name}"
            for name in re.findall(r"\b\w+\.py\b", line)
            if not (ROOT / folder / name).exists()
        ]

    assert missing == []


def test_every_make_verb_in_the_documentation_exists():
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    named = {
        verb
        for page in PAGES
        for verb in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", page.read_text(), re.MULTILINE)
        for verb in verb
        if verb
    }

    assert named - verbs == set()


def test_make_help_lists_every_verb():
    help_text = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert phony
    listed = {line.split()[0] for line in help_text.splitlines()}
    assert listed == set(phony.group(1).split())


def test_every_environment_variable_of_ours_is_documented():
    page = (ROOT / "docs" / "configuration.md").read_text()
    used = set()
    for package in ("jobs", "cluster", "eval_sandbox", "database", "leaderboard"):
        for path in (ROOT / package).rglob("*.py"):
            used |= set(re.findall(r"\bCODELADDER_[A-Z_]+\b", path.read_text()))

    assert {name for name in used if f"`{name}`" not in page} == set()


@pytest.mark.parametrize(
    "declared", [ExperimentFile, ModelSpec, Server, Asking, Parallelism, LoRA, DoRA, QLoRA, Full]
)
def test_every_key_of_an_experiment_is_documented(declared):
    page = (ROOT / "docs" / "configuration.md").read_text()

    assert {key for key in declared.model_fields if f"`{key}`" not in page} == set()
