"""The table of faults: how long each takes to be noticed and to be overcome, and what it costs.

    python benchmarks/faults.py [--times N] [--plain] [FAULT ...]

A cluster of five machines made of namespaces of this one (root), or of mere groups of processes,
which cannot undergo all of them; a real experiment, and each fault as often as asked, the worst
shown. Every time the weights and rows must be those of an undisturbed experiment. `make faults`
runs all of them, five times each, in some hours.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import SubprocessError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from experiment_under_faults import Trial
from faults import FAULTS, Fault, Measured, once
from namespaces import missing
from ray_nodes import SIZES, RayNodes, ray_nodes


def main() -> int:
    """Print the table; 1 where something was lost, repeated or changed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="words of its name; all if none")
    parser.add_argument("--times", type=int, default=5, help="how often each happens (5)")
    parser.add_argument("--plain", action="store_true", help="do without namespaces")
    asked = parser.parse_args()
    plain = asked.plain or bool(missing())
    wanted = [fault for fault in _wanted(asked.faults) if not (plain and fault.apart)]
    if plain:
        print(f"without namespaces, {len(wanted)} faults: {missing() or 'as asked'}")
    folder = Path(tempfile.mkdtemp(prefix="f-", dir="/tmp"))
    try:
        with ray_nodes(folder, SIZES, plain=plain) as nodes:
            return _measure(nodes, wanted, asked.times)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wanted(words: Sequence[str]) -> list[Fault]:
    """Each fault once, in the order in which they are asked for."""
    named = [name for word in words for name in FAULTS if word in name]
    return [FAULTS[name] for name in dict.fromkeys(named if words else FAULTS)]


def _measure(nodes: RayNodes, wanted: Sequence[Fault], times: int) -> int:
    undisturbed, seconds = _undisturbed(nodes)
    load = os.getloadavg()[0]
    print(f"an undisturbed experiment takes {seconds:.0f} s; load {load:.1f}", flush=True)
    found: dict[str, list[Measured | str]] = {fault.name: [] for fault in wanted}
    with suppress(KeyboardInterrupt):  # what there is until then is worth a table
        for number in range(times):
            for fault in wanted:
                found[fault.name].append(_once(nodes, undisturbed, fault, number))
    print("| fault | times | noticed s | goes on s | bound s | steps again | outcome |")
    print("|---|--:|--:|--:|--:|--:|---|")
    for fault in wanted:
        if found[fault.name]:
            print(_row(fault, found[fault.name]), flush=True)
    wrong = sum(isinstance(one, str) for all_of_it in found.values() for one in all_of_it)
    return 1 if wrong else 0


def _row(fault: Fault, found: Sequence[Measured | str]) -> str:
    right = [one for one in found if isinstance(one, Measured)]
    failures = [one for one in found if isinstance(one, str)]
    detected = max((one.detected for one in right), default=0)
    resumed = max((one.resumed for one in right), default=0)
    repeated = max((one.repeated for one in right), default=0)
    outcome = f"{len(failures)} wrong: {failures[0]}" if failures else "the same, to the bit"
    costs = f"{detected:.1f} | {resumed:.1f} | {fault.seconds:.0f} | {repeated}"
    return f"| {fault.name} | {len(found)} | {costs} | {outcome} |"


def _undisturbed(nodes: RayNodes) -> tuple[Trial, float]:
    began = time.monotonic()
    trial = Trial(nodes, nodes.network.all["driver"], "undisturbed")
    trial.begin()
    trial.succeed()
    return trial, time.monotonic() - began


def _once(nodes: RayNodes, undisturbed: Trial, fault: Fault, number: int) -> Measured | str:
    """What it cost, or what went wrong; told at once, in a line."""
    try:
        found: Measured | str = once(nodes, undisturbed, fault, number)
    except (AssertionError, OSError, SubprocessError) as error:
        print(error, file=sys.stderr)
        found = str(error).partition("\n")[0]
    when = f"{time.strftime('%T')} load {os.getloadavg()[0]:.1f}"
    print(f"{when} {fault.name}, {number + 1}: {found}", file=sys.stderr)
    return found


if __name__ == "__main__":
    sys.exit(main())
