"""What must be true of this machine before any work starts; every mistake at once."""

import shutil
from importlib.util import find_spec

from eval_sandbox.sandbox import SandboxUnavailable, check_host
from jobs.experiment import Experiment
from jobs.home import Home

SPARE_GIB = 1.0
"""Room for the ledger, completions and Ray's logs."""


def host_mistakes(home: Home) -> list[str]:
    """Why this machine cannot run an experiment, one sentence each; nothing is started."""
    return [*_sandbox(), *_disk(home)]


def missing_libraries(experiment: Experiment) -> list[str]:
    """What methods of an experiment need and this installation lacks."""
    quantized = sorted(
        {
            run.training.method_name
            for run in experiment.runs()
            if run.training and run.training.method.kind == "qlora"
        }
    )
    if not quantized or find_spec("bitsandbytes") is not None:
        return []
    return [f"methods.{quantized[0]}: qlora needs bitsandbytes: pip install bitsandbytes"]


def _sandbox() -> list[str]:
    try:
        check_host()
    except SandboxUnavailable as error:
        return [f"sandbox: {error}"]
    return []


def _disk(home: Home) -> list[str]:
    free = shutil.disk_usage(home.folder).free / 2**30
    if free >= SPARE_GIB:
        return []
    return [
        f"disk: {home.folder} has {free:.1f} GiB free, about {SPARE_GIB:.0f} GiB are needed; "
        "free some, or set CODELADDER_HOME to a larger disk"
    ]
