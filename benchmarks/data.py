"""How fast rows are made ready, and in how much memory: `make bench-data`.

10 thousand, 100 thousand and a million rows, all synthetic (`synthetic.py`): functions of 300 to
800 characters, one in ten a near copy of an earlier one. Three things are measured, each in a
process of its own with two workers:

- near: our search for duplicates, from rows on disk to the rows that are left on disk;
- datatrove: its MinHash stages over the same texts, with words in a shingle, buckets and hashes as
  ours. Up to 100 thousand rows: a million would take longer than all the rest;
- whole: what `python -m jobs prepare` does, from a file of rows to a dataset ready to train on.

At each size they take turns, and the order turns by one from round to round. Seconds do not count
imports and the start of workers. Memory is the most that the process and all below it had resident
at once, looked at ten times a second; what they share counts for each.

`found` is the share of planted copies of which not both rows are left: of the first 10 thousand
copies, those of a true Jaccard similarity of at least 0.8, and in brackets all of them. `right` is
the share of rows left out that are planted copies or have one, without the last row of a family:
that one left out too is wrong.

The table shows medians. The last lines are `figure NAME VALUE`: `data_growth`, seconds a row of the
whole at a million over those at 10 thousand, and `data_vs_peer`, datatrove's seconds over ours at
the largest size that both ran, the median of the rounds.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import synthetic

from jobs.data.duplicates import Duplicates

NAMES = ("near", "datatrove", "whole")
ROUNDS = {10_000: 3, 100_000: 1, 1_000_000: 1}
"""By size, how often each is measured."""
PEER_MOST = 100_000
WORKERS = 2
COPIES_ASKED = 10_000
_HERE = Path(__file__).resolve().parent
_PEER_PYTHON = _HERE.parent / ".venv-peers" / "bin" / "python"
_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Measured:
    """One run of one thing."""

    seconds: float
    peak_mib: float
    left_out: frozenset[int] = field(default=frozenset(), repr=False)
    """Numbers of rows; empty for the whole, which is not asked."""


Results = dict[tuple[str, int], list[Measured]]


class FailedError(Exception):
    """A measured process did not end well."""


def main() -> int:
    """Measure, print, and return an exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--largest", type=int, default=max(ROUNDS), help="most rows")
    parser.add_argument("--only", default=",".join(NAMES), help="with commas between")
    parser.add_argument("--disk", help="folder for some 6 GB of files; the system's by default")
    options = parser.parse_args()
    results: Results = defaultdict(list)
    notes: list[str] = []
    for size in (size for size in ROUNDS if size <= options.largest):
        with tempfile.TemporaryDirectory(dir=options.disk) as folder:
            _progress(f"writing {size:,} rows")
            synthetic.write_all(size, Path(folder) / "rows", WORKERS)
            _measure_all(size, options.only.split(","), Path(folder), results, notes)
    _print_table(results)
    for note in notes:
        print(f"note: {note}")
    return _print_figures(results)


def _measure_all(
    size: int, only: Sequence[str], folder: Path, results: Results, notes: list[str]
) -> None:
    names = [name for name in NAMES if name in only and (name != "datatrove" or size <= PEER_MOST)]
    for turn in range(ROUNDS[size]):
        turned = turn % (len(names) or 1)
        for name in [*names[turned:], *names[:turned]]:
            _progress(f"{name}, {size:,} rows, round {turn + 1} of {ROUNDS[size]}")
            try:
                results[name, size].append(_measure(name, folder / "rows", folder / "work"))
            except FailedError as error:
                names.remove(name)
                notes.append(f"{name}, {size:,} rows: not measured: {error}")


def _progress(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


def _measure(name: str, rows: Path, work: Path) -> Measured:
    work.mkdir()
    command = _peer(rows, work) if name == "datatrove" else _ours(name, rows, work)
    try:
        with tempfile.TemporaryFile("w+") as said:
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
            with child, _watched(child.pid) as most:
                printed, _ = child.communicate()
            said.seek(0)
            if child.returncode:
                raise FailedError((said.read().strip().splitlines() or ["no word of why"])[-1])
        seconds = json.loads(printed.splitlines()[-1])["seconds"]
        return Measured(seconds, max(most) / 2**20, frozenset(_left_out(name, work)))
    except FileNotFoundError as error:
        raise FailedError(str(error)) from error
    finally:
        shutil.rmtree(work)


def _ours(name: str, rows: Path, work: Path) -> list[str]:
    command = [sys.executable, str(_HERE / "data_work.py"), name]
    return [*command, "--rows", str(rows), "--work", str(work), "--workers", str(WORKERS)]


def _peer(rows: Path, work: Path) -> list[str]:
    spec = Duplicates()
    return [
        *(str(_PEER_PYTHON), str(_HERE / "peers" / "datatrove_minhash.py")),
        *("--rows", str(rows / "texts"), "--work", str(work), "--workers", str(WORKERS)),
        *("--words", str(spec.shingle.size), "--buckets", str(spec.banding.bands)),
        *("--hashes", str(spec.banding.values)),
    ]


@contextmanager
def _watched(pid: int) -> Iterator[list[int]]:
    """Bytes resident in a process and all below it, one number for each look."""
    looks = [0]
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                looks.append(sum(map(_resident, [process, *process.children(recursive=True)])))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield looks
    finally:
        over.set()
        watcher.join()


def _resident(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return int(process.memory_info().rss)
    return 0


def _left_out(name: str, work: Path) -> Iterator[int]:
    if name == "near":
        yield from pq.read_table(work / "duplicates.parquet")["left_out"].to_pylist()
    if name == "datatrove":
        for path in sorted((work / "removed").iterdir()):
            with path.open() as lines:
                yield from (int(json.loads(line)["id"]) for line in lines)


def _print_table(results: Results) -> None:
    print(
        f"\n{'':11}{'rows':>11}{'seconds':>18}{'rows a second':>15}"
        f"{'peak MiB':>10}{'found':>18}{'right':>9}"
    )
    for (name, size), rounds in results.items():
        if not rounds:
            continue
        taken = [one.seconds for one in rounds]
        spread = f"{median(taken):.1f} ({min(taken):.1f}-{max(taken):.1f})"
        peak = median(one.peak_mib for one in rounds)
        quality = _quality(rounds[0].left_out, size) if rounds[0].left_out else f"{'-':>18}{'-':>9}"
        print(
            f"{name:11}{size:>11,}{spread:>18}{size / median(taken):>15,.0f}{peak:>10.0f}{quality}"
        )
    print()


def _quality(left_out: Set[int], size: int) -> str:
    copies = [number for number in range(size) if synthetic.is_copy(number)]
    families = Counter(synthetic.original(number) for number in copies)
    gone = Counter(
        synthetic.original(number) if synthetic.is_copy(number) else number for number in left_out
    )
    right = sum(min(count, families[first]) for first, count in gone.items())
    asked = [(copy, synthetic.original(copy)) for copy in copies[:COPIES_ASKED]]
    found = {pair: not left_out.isdisjoint(pair) for pair in asked}
    alike = [pair for pair in asked if _similarity(*pair) >= Duplicates().threshold]
    share = sum(found[pair] for pair in alike) / len(alike)
    spread = f"{share:.4f} ({sum(found.values()) / len(found):.4f})"
    return f"{spread:>18}{right / len(left_out):>9.4f}"


def _similarity(one: int, other: int) -> float:
    """True Jaccard similarity of two rows, counted without any code of what is measured."""
    sets = [_shingles(" ".join(synthetic.question_and_answer(row))) for row in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def _shingles(text: str) -> set[tuple[str, ...]]:
    tokens = _TOKEN.findall(text)
    return set(zip(tokens, tokens[1:], tokens[2:], strict=False))


def _print_figures(results: Results) -> int:
    """The lines that other tools read; 1 where one of them is missing."""
    small, large = (results.get(("whole", size), []) for size in (min(ROUNDS), max(ROUNDS)))
    if small and large:
        a_row = [median(one.seconds for one in rounds) for rounds in (small, large)]
        print(f"figure data_growth {a_row[1] / max(ROUNDS) / (a_row[0] / min(ROUNDS)):.3f}")
    both = [
        size for size in ROUNDS if results.get(("datatrove", size)) and ("near", size) in results
    ]
    if both:
        theirs, ours = results["datatrove", both[-1]], results["near", both[-1]]
        ratios = [a.seconds / b.seconds for a, b in zip(theirs, ours, strict=False)]
        print(f"figure data_vs_peer {median(ratios):.3f}")
    return 0 if small and large and both else 1


if __name__ == "__main__":
    sys.exit(main())
