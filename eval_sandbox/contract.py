"""The judging half of the contract: everything that shapes a verdict besides model and problem."""

import difflib
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from eval_sandbox.extraction import EXTRACTIONS
from eval_sandbox.preambles import PREAMBLES

JUDGE_VERSION = 4
"""Raised by hand whenever a change to the judge may change a verdict."""


ISOLATIONS = ("full", "none")
"""`none` leaves only resource limits and the filter of system calls: programs see the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one check may use: all tests of one completion together, not each test."""

    cpu_seconds: float = 5.0
    """At least; `cpu_factor` times what the problem's reference takes here where that is more."""
    cpu_factor: float = 5.0
    wall_seconds: float = 30.0
    """At least; never under three times the CPU time. Time that a busy host keeps from the program
    does not count, so a verdict does not depend on how busy the machine is."""
    memory_mib: int = 2048
    """Address space of each process (RLIMIT_AS), and what all of them together keep resident."""
    processes: int = 16
    """Processes and threads alive at once."""
    file_mib: int = 16
    """Everything the program keeps in its working folder, and the size of any one file."""
    output_kib: int = 256
    """Standard output and standard error together."""
    test_seconds: float = 0.0
    """CPU time that all tests together may take more for each test after the first. A run on one
    standard input may still take no more than a problem with one test; all calls are one run."""

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if not (value > 0 or (value == 0 and limit.name == "test_seconds")):
                raise ValueError(f"{limit.name} is {value}; it must be above 0")

    def content(self) -> dict[str, Any]:
        """The rule as it is hashed; one that is not in force is no part of it."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """How completions are judged. Two verdicts compare only under equal `content()`."""

    preamble: str = "none"
    extract: str = "none"
    limits: Limits = Limits()
    isolation: str = "full"

    def __post_init__(self) -> None:
        _known("preamble", self.preamble, PREAMBLES)
        _known("extract", self.extract, EXTRACTIONS)
        _known("isolation", self.isolation, ISOLATIONS)

    def content(self) -> dict[str, Any]:
        """Everything that shapes a verdict, ready for JSON and for hashing."""
        return {
            "preamble": self.preamble,
            "extract": self.extract,
            "limits": self.limits.content(),
            "interpreter": f"{sys.version_info.major}.{sys.version_info.minor}",
            "isolation": self.isolation,
            "judge_version": JUDGE_VERSION,
        }


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that `name` was most likely meant to be."""
    names = list(known)
    return (difflib.get_close_matches(name, names, n=1, cutoff=0.0) or names[:1])[0]


def _known(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise ValueError(
            f"there is no {what} {name!r}; did you mean {nearest(name, known)!r}? "
            f"Known: {', '.join(known)}"
        )
