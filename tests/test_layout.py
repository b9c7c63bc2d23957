"""Policies of the tree that no type checker sees."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("jobs", "cluster", "eval_sandbox", "database", "leaderboard", "models")
TRACKED = subprocess.run(
    ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split("\0")[:-1]
PYTHON = [ROOT / name for name in TRACKED if name.endswith(".py") and (ROOT / name).exists()]


def test_datasets_holds_no_python_so_that_it_cannot_shadow_hugging_face():
    assert not list((ROOT / "datasets").rglob("*.py"))


def test_tests_are_flat_and_no_package():
    assert not list((ROOT / "tests").rglob("__init__.py"))
    assert not list((ROOT / "tests").glob("*/test_*.py"))


@pytest.mark.parametrize("where", [".", "leaderboard"])
def test_import_datasets_finds_hugging_face_from(where):
    code = "import datasets; print(datasets.Dataset.__module__)"
    started = [sys.executable, "-c", code]
    if where == "leaderboard":  # as Streamlit starts a script: its folder first on the path
        started = [sys.executable, "-c", f"import sys; sys.path.insert(0, {where!r}); {code}"]

    done = subprocess.run(started, cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.startswith("datasets.")


def test_no_file_of_the_leaderboard_is_named_like_a_package_it_imports():
    names = {path.stem for path in (ROOT / "leaderboard").glob("*.py")}

    assert not names & {"datasets", "ray", "jobs", "types", "code", "statistics", "select", "torch"}


def test_no_module_is_a_grab_bag():
    banned = {"utils", "common", "helpers", "misc", "base", "manager", "handler"}

    assert not [path for path in PYTHON if path.stem in banned]


def test_no_file_of_the_packages_is_longer_than_400_lines():
    ours = [path for path in PYTHON if path.relative_to(ROOT).parts[0] in PACKAGES]

    long = {str(path): len(path.read_text().splitlines()) for path in ours}

    assert not {name: lines for name, lines in long.items() if lines > 400}


def test_weights_are_safetensors_and_never_pickles():
    pickles = {".bin", ".pt", ".pth", ".pkl", ".pickle"}

    assert not [name for name in TRACKED if Path(name).suffix in pickles]


def test_remote_code_of_a_model_stays_off():
    trusting = "trust_remote_code=" + "True"

    assert not [path for path in PYTHON if trusting in path.read_text()]


def test_the_lock_pins_every_package_and_torch_without_a_build_suffix():
    lines = (ROOT / "requirements.lock").read_text().splitlines()

    assert [line for line in lines if "==" not in line] == []
    assert [line for line in lines if line.startswith("torch==")] == ["torch==2.13.0"]


def test_every_declared_dependency_is_in_the_lock():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = settings["project"]["dependencies"] + settings["dependency-groups"]["dev"]
    locked = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
    }

    names = {re.split(r"[\[<>=!]", name)[0].lower().replace("_", "-") for name in wanted}

    assert names - locked == set()


def test_the_readme_is_short_enough_to_be_read():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
