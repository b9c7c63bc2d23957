"""Auditing dependencies: what a report of pip-audit means, and that a network away is no finding.

The reports have the form that pip-audit writes (`-f json`).
"""

import importlib.machinery
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / ".ci" / "audit"
FOUND = {
    "dependencies": [
        {"name": "jinja2", "version": "3.1.0", "vulns": [
            {"id": "PYSEC-1", "fix_versions": ["3.1.6"], "aliases": [], "description": ""},
            {"id": "GHSA-2", "fix_versions": [], "aliases": [], "description": ""},
        ]},
        {"name": "rich", "version": "14.0.0", "vulns": []},
        {"name": "mine", "skip_reason": "Dependency not found on PyPI"},
    ],
    "fixes": [],
}  # fmt: skip


@pytest.fixture
def audit():
    loader = importlib.machinery.SourceFileLoader("audit", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("audit", loader))
    loader.exec_module(module)
    return module


def test_a_finding_names_the_package_what_is_known_and_what_mends_it(audit):
    assert audit.findings(FOUND) == ["jinja2 3.1.0: PYSEC-1, GHSA-2; mended in 3.1.6"]


def test_packages_that_the_index_does_not_know_do_not_count_as_looked_up(audit):
    assert audit.coverage(FOUND) == "2 of 3 pinned packages were looked up."


def test_without_a_network_it_says_so_and_fails_nothing():
    nobody = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], env=nobody, capture_output=True, text=True, cwd=ROOT
    )

    assert done.returncode == 0
    assert done.stdout.startswith("Dependencies were not audited: https://pypi.org/")
