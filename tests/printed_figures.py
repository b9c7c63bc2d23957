"""Scripts of `benchmarks/` run as people run them, and the figures they print."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"


def printed_by(*command):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )


def figures_of(text):
    return dict(re.findall(r"^figure (\S+) (\S+)", text, re.MULTILINE))
