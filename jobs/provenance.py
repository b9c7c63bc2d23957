"""Where a result came from: recorded beside a run's id, never in it."""

import platform
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from jobs.experiment import Run
from jobs.recipes import ROOT

LIBRARIES = (
    "accelerate",
    "datasets",
    "deepspeed",
    "numpy",
    "peft",
    "ray",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
)


def provenance(
    run: Run, experiment: str, served: Mapping[str, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """What made a run, for the ledger: code, libraries, host, model, data and seed.

    Args:
        run: a cell of the grid.
        experiment: whose grid it is.
        served: what servers say of their models, by name.
    """
    training = run.training
    data = (
        {"name": training.dataset.name} | training.dataset.recipe.model_dump(mode="json")
        if training
        else {}
    )
    return {
        **_surroundings(),
        "experiment": experiment,
        "command": re.sub(r"//[^/@\s]+@", "//***@", " ".join(sys.orig_argv[1:])),
        "model": {"location": run.model.location, "revision": run.model.revision or None},
        **_server(run, served or {}),
        "method": training.method.model_dump(mode="json") if training else {},
        "parallelism": run.model.parallelism.model_dump(mode="json"),
        "data": data,
        "seed": run.seed,
    }


def _server(run: Run, served: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    server = run.model.server
    if server is None:
        return {}
    said = {"url": server.url, "revision": server.revision}
    return {"server": said | served.get(run.model_name, {})}


@lru_cache(maxsize=1)
def _surroundings() -> dict[str, Any]:
    return {
        "commit": _git("rev-parse", "HEAD") or "not a git checkout",
        "dirty": bool(_git("status", "--porcelain")),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
    }


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
