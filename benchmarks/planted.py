"""How much of what was planted is found, and what it costs in clean rows.

Clean rows are functions with docstrings from the packages of this environment: the docstring's
first paragraph asks, the function answers. Among them are hidden, from HumanEval and MBPP,

- `exact`: question and reference as published;
- `reformatted`: the reference with other white space and comments, without question and docstring;
- `renamed`: besides, with other names for everything that it defines;
- `embedded`: that in a class, or in a file among other code;
- `paraphrased`: the question reworded by rules, and the reference renamed and restructured;
- `rewritten`: the question reworded, with what GPT-3.5 answered to it (LDB's samples), renamed.

Every planted program passes its problem's tests. The three kinds without a question leave out
references of fewer than nine nodes. The limits of `jobs/data/overlap.py`, `contamination.py` and
`nominations.py` were set on clean rows of seed 1 and on MBPP's training part; the run that is
reported has another seed.

For each method: the share of each kind that it finds, the clean rows that it takes for
contaminated, and its precision, at 1,200 planted rows among 20,000. Each is shown alone, over all
rows; `dropped` is what the default recipe leaves out. The last lines are `figure NAME VALUE UNIT`.
"""

import argparse
import ast
import random
import sys
import textwrap
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from plants import KINDS, Plant, plants
from published import MissingDataError, published
from published import rows as records

from eval_sandbox.benchmarks import read_problems
from eval_sandbox.problem import Problem
from jobs.data.bench import Asked, Ending, run
from jobs.data.code import code_of, parse
from jobs.data.contamination import Contamination, Hit, Index
from jobs.data.execution import Execution, attempt, telling_nothing
from jobs.data.nominations import Nomination
from jobs.data.row import Row

_METHODS = ("substring", "ngram8", "ngram10", "ngram13", "syntax", "execution")
_NOT_OURS = {"tests", "test", "testing", "_vendor", "vendored", "third_party", "thirdparty"}
Pair = tuple[Row, Nomination]
_LONGEST = 4000
"""Characters of a clean function."""
_FROM_ONE_FILE = 20


class Processes:
    """A crew of processes on this machine."""

    def __init__(self, processes: int) -> None:
        self._pool = ProcessPoolExecutor(processes)

    def run(self, function, items):  # type: ignore[no-untyped-def]  # see jobs.data.crew.Crew
        """(position, result), in the order of the items."""
        return enumerate(self._pool.map(function, items))


@dataclass(frozen=True, slots=True)
class Looked:
    """What the row-local methods say of a row."""

    hits: list[Hit]
    nominations: list[Nomination]


def main() -> int:
    """Measure, print, and return an exit status."""
    options = _options()
    sys.setrecursionlimit(10_000)
    try:
        problems = {
            "humaneval": read_problems("humaneval", published("HumanEval.jsonl.gz")),
            "mbpp": read_problems("mbpp", published("mbpp.jsonl")),
        }
    except MissingDataError as error:
        print(error)
        return 1
    crew = Processes(options.processes)
    hidden = _hidden(problems, _others(), options, crew)
    clean = list(_clean(options.rows, options.seed))
    rows = [*clean, *(plant.row for plant in hidden)]
    kinds = ["clean"] * len(clean) + [plant.kind for plant in hidden]
    print(f"{len(clean)} clean rows, {len(hidden)} planted")
    spec = Contamination()
    index = Index.build(problems, spec)
    found, evidence = _find(index, rows, problems, crew)
    _print(kinds, rows, found, evidence, spec)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Recall and precision on planted contaminations")
    parser.add_argument("--rows", type=int, default=20_000, help="clean rows")
    parser.add_argument("--each", type=int, default=200, help="planted rows of each kind")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--processes", type=int, default=2)
    return parser.parse_args()


def _others() -> dict[str, str]:
    """Problem -> what GPT-3.5 answered, as far as it was graded right."""
    answers = [
        record
        for benchmark in ("humaneval", "mbpp")
        for record in records(published(f"ldb/{benchmark}_gpt-3.5-turbo-0613_ldb_results.jsonl.gz"))
    ]
    return {answer["task_id"]: answer["solution"] for answer in answers if answer["is_solved"]}


def _run_pairs(
    pairs: Sequence[Pair], problems: Mapping[str, Sequence[Problem]], crew: Processes
) -> list[Ending]:
    """Whether each pair's function solves its problem, as `jobs.data.trying` finds out."""
    by_owner = {(name, p.task_id): p for name, listed in problems.items() for p in listed}
    judging = Execution().judging()
    owners = [(nomination.benchmark, nomination.task_id) for _, nomination in pairs]
    asked: list[Asked] = [
        (owner, attempt(nomination, row, by_owner[owner]))
        for owner, (row, nomination) in zip(owners, pairs, strict=True)
    ]
    endings = [ran.ending for ran in run(asked, by_owner, judging, crew)]
    solved = {o for o, e in zip(owners, endings, strict=True) if e is Ending.SOLVED}
    weak = telling_nothing({owner: by_owner[owner] for owner in sorted(solved)}, judging, crew)
    print(
        f"{len(weak)} problems accept a function that does nothing, and are not counted as solved"
    )
    return [
        Ending.NOT if ending is Ending.SOLVED and owner in weak else ending
        for owner, ending in zip(owners, endings, strict=True)
    ]


def _hidden(
    problems: Mapping[str, Sequence[Problem]],
    others: Mapping[str, str],
    options: argparse.Namespace,
    crew: Processes,
) -> list[Plant]:
    """So many of each kind from both benchmarks alike, each passing its problem's tests."""
    draw = random.Random(options.seed)
    made: dict[tuple[str, str], list[Plant]] = defaultdict(list)
    for benchmark, listed in problems.items():
        for problem in draw.sample(list(listed), len(listed)):
            for plant in plants(benchmark, problem, others.get(problem.task_id, ""), draw):
                made[plant.kind, benchmark].append(plant)
    half = options.each // len(problems)
    candidates = [p for listed in made.values() for p in listed[: half + half // 4]]
    pairs = [(plant.row, plant.nomination) for plant in candidates]
    endings = _run_pairs(pairs, problems, crew)
    taken: dict[tuple[str, str], list[Plant]] = defaultdict(list)
    for plant, ending in zip(candidates, endings, strict=True):
        kept = taken[plant.kind, plant.benchmark]
        if ending is Ending.SOLVED and len(kept) < half:
            kept.append(plant)
    refused = sum(ending is not Ending.SOLVED for ending in endings)
    print(f"{len(candidates)} plants made, {refused} of them fail their tests and are left out")
    return [plant for kept in taken.values() for plant in kept]


def _clean(most: int, seed: int) -> Iterator[Row]:
    """Functions with docstrings of installed packages, the same ones for a seed."""
    folder = Path(ast.__file__).parent / "site-packages"
    site = next((Path(p) for p in sys.path if p.endswith("site-packages")), folder)
    files = sorted(path for path in site.rglob("*.py") if not _NOT_OURS & set(path.parts))
    random.Random(seed).shuffle(files)
    seen: set[str] = set()
    for path in files:
        for row in _functions(path, site):
            if row.response in seen:
                continue
            seen.add(row.response)
            yield row
            if len(seen) == most:
                return


def _functions(path: Path, site: Path) -> Iterator[Row]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = path.read_text(errors="replace")
        tree = parse(text) if len(text) < 500_000 else None
    lines = text.split("\n")
    taken = 0
    for node in ast.walk(tree) if tree else ():
        if not isinstance(node, ast.FunctionDef) or len(node.body) < 2 or taken == _FROM_ONE_FILE:
            continue
        asked = (ast.get_docstring(node) or "").partition("\n\n")[0]
        code = textwrap.dedent("\n".join(lines[node.lineno - 1 : node.end_lineno]))
        if asked and len(code) <= _LONGEST:
            taken += 1
            yield Row(
                instruction=asked,
                response=code,
                source="clean",
                place=f"{path.relative_to(site)}:{node.lineno}",
                licence="LicenseRef-various",
            )


def _look(job: tuple[Index, Row]) -> Looked:
    index, row = job
    code = code_of(row)
    tree = parse(code) if code else None
    return Looked(index.hits(row, code, tree), index.nominate(row, code, tree))


def _find(
    index: Index,
    rows: Sequence[Row],
    problems: Mapping[str, Sequence[Problem]],
    crew: Processes,
) -> tuple[dict[str, set[int]], dict[int, list[str]]]:
    """Method -> numbers of rows that it finds, and what it found in them."""
    found: dict[str, set[int]] = defaultdict(set)
    evidence: dict[int, list[str]] = defaultdict(list)
    start = time.perf_counter()
    looked = [_look((index, row)) for row in rows]
    seconds = time.perf_counter() - start
    print(f"{1e3 * seconds / len(rows):.2f} ms a row to parse, compare and nominate")
    for number, look in enumerate(looked):
        for hit in look.hits:
            found[hit.method].add(number)
            evidence[number].append(f"{hit.method} {hit.task_id}: {hit.evidence}")
    nominated = [(n, one) for n, look in enumerate(looked) for one in look.nominations]
    nominated.sort(key=lambda pair: (-pair[1].strength, pair[0], pair[1].task_id))
    chosen = nominated[: index.spec.most_pairs]
    pairs = [(rows[number], nomination) for number, nomination in chosen]
    start = time.perf_counter()
    endings = _run_pairs(pairs, problems, crew)
    print(
        f"{len(pairs)} pairs run in {time.perf_counter() - start:.0f} s, "
        f"{len(nominated) - len(chosen)} not tried, "
        f"{endings.count(Ending.SANDBOX_ERROR)} without a verdict"
    )
    for (number, nomination), ending in zip(chosen, endings, strict=True):
        if ending is Ending.SOLVED:
            found["execution"].add(number)
            evidence[number].append(
                f"execution {nomination.task_id}: {nomination.function} by {nomination.by}"
            )
    return found, evidence


def _print(
    kinds: Sequence[str],
    rows: Sequence[Row],
    found: Mapping[str, set[int]],
    evidence: Mapping[int, list[str]],
    spec: Contamination,
) -> None:
    of_kind = {kind: {n for n, k in enumerate(kinds) if k == kind} for kind in ("clean", *KINDS)}
    dropped = set().union(*(found.get(method, set()) for method in spec.drop))
    shown = {method: found.get(method, set()) for method in _METHODS} | {"dropped": dropped}
    print(f"\n{'':11}" + "".join(f"{kind:>13}" for kind in KINDS) + "   clean  precision")
    for method, numbers in shown.items():
        recall = "".join(
            f"{100 * len(numbers & of_kind[kind]) / max(len(of_kind[kind]), 1):12.1f}%"
            for kind in KINDS
        )
        lost = len(numbers & of_kind["clean"])
        precision = 100 * (len(numbers) - lost) / len(numbers) if numbers else float("nan")
        print(f"{method:11}{recall}{lost:8}{precision:10.1f}%")
    for title, numbers in (
        ("clean rows that are dropped", sorted(dropped & of_kind["clean"])),
        (
            "planted rows that are missed",
            sorted(set(range(len(rows))) - dropped - of_kind["clean"]),
        ),
    ):
        print(f"\n{title}: {len(numbers)}")
        for number in numbers[:12]:
            print(f"  {rows[number].place}  {'; '.join(evidence.get(number, []))[:110]}")
    _figures(of_kind, dropped)


def _figures(of_kind: Mapping[str, set[int]], dropped: set[int]) -> None:
    def share(*names: str) -> float:
        numbers = set().union(*(of_kind[name] for name in names))
        return 100 * len(dropped & numbers) / max(len(numbers), 1)

    print(f"\nfigure planted_recall_copies {share('exact', 'reformatted'):.1f} %")
    print(f"figure planted_recall_renamed {share('renamed', 'embedded'):.1f} %")
    print(f"figure planted_recall_paraphrased {share('paraphrased', 'rewritten'):.1f} %")
    print(f"figure planted_clean_lost {share('clean'):.3f} %")


if __name__ == "__main__":
    sys.exit(main())
