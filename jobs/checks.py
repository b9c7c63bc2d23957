"""What must be true of this machine before any work starts; every mistake at once."""

import os
import shutil
from importlib.util import find_spec

from eval_sandbox.sandbox import SandboxUnavailable, check_host
from jobs.answers import EngineError
from jobs.declared import UserError
from jobs.experiment import Experiment
from jobs.home import Home
from jobs.storage.store import Store, StoreError
from jobs.vllm import program

SPARE_GIB = 1.0
"""Room for the ledger, completions and Ray's logs."""


def host_mistakes(home: Home) -> list[str]:
    """Why this machine cannot run an experiment, one sentence each; nothing is started."""
    return [*_sandbox(), *_disk(home), *_store()]


def missing_libraries(experiment: Experiment) -> list[str]:
    """What methods of an experiment need and this installation lacks."""
    quantized = sorted(
        {
            run.training.method_name
            for run in experiment.runs()
            if run.training and run.training.method.kind == "qlora"
        }
    )
    lacking = missing_engine(experiment)
    if quantized and find_spec("bitsandbytes") is None:
        lacking.append(
            f"methods.{quantized[0]}: qlora needs bitsandbytes: pip install bitsandbytes"
        )
    return lacking


def missing_engine(experiment: Experiment) -> list[str]:
    """Benchmarks that vLLM shall write the answers of, where there is none.

    Of a cluster that is joined only its own workers can tell, when they are asked.
    """
    wanted = [b.name for b in experiment.benchmarks if b.asking.engine == "vllm"]
    if not wanted or os.environ.get("RAY_ADDRESS"):
        return []
    try:
        program()
    except EngineError as error:
        return [f"benchmarks.{wanted[0]}.engine: {error}"]
    return []


def _sandbox() -> list[str]:
    try:
        check_host()
    except SandboxUnavailable as error:
        return [f"sandbox: {error}"]
    return []


def _store() -> list[str]:
    try:
        if store := Store.from_environment():
            store.check()
    except (UserError, StoreError) as error:
        return [f"store: {error}"]
    return []


def _disk(home: Home) -> list[str]:
    free = shutil.disk_usage(home.folder).free / 2**30
    if free >= SPARE_GIB:
        return []
    return [
        f"disk: {home.folder} has {free:.1f} GiB free, about {SPARE_GIB:.0f} GiB are needed; "
        "free some, or set CODELADDER_HOME to a larger disk"
    ]
