"""What `data.py` measures of ours, each in a process of its own: `data_work.py near|whole`.

The last line on standard output is `{"seconds": ...}`.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cluster.session import connect
from jobs.data.contamination import Contamination
from jobs.data.crew import OnCluster
from jobs.data.duplicates import Duplicates, find_duplicates, sketch, write_sketch
from jobs.data.origin import Source
from jobs.data.recipe import DatasetRecipe
from jobs.data.row import SHARD_ROWS, read_rows, write_rows
from jobs.experiment import Dataset
from jobs.home import Home
from jobs.loading import read_questions
from jobs.prepare import prepare
from jobs.recipes import BENCH, sha256_of


def main() -> None:
    """Do one of them."""
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    options.add_argument("what", choices=["near", "whole"])
    options.add_argument(
        "--rows", type=Path, required=True, help="what `synthetic.write_all` wrote"
    )
    options.add_argument("--work", type=Path, required=True, help="empty folder")
    options.add_argument("--workers", type=int, required=True)
    chosen = options.parse_args()
    work = {"near": near_duplicates, "whole": whole_pipeline}[chosen.what]
    print(json.dumps({"seconds": work(chosen.rows, chosen.work, chosen.workers)}))


def whole_pipeline(rows: Path, work: Path, workers: int) -> float:
    """Seconds from `rows/rows.jsonl` to a dataset in `work` that is ready to train on.

    With everything that is on by default, against every benchmark whose file is here. Only the
    pairs that rare words alone nominate are not run: their number is limited, so they would make
    few rows dearer than many. Ray's start is not counted.
    """
    file = rows / "rows.jsonl"
    source = Source(file=str(file), sha256=sha256_of(file), licence="Apache-2.0")
    recipe = DatasetRecipe(
        description="synthetic",
        sources={"synthetic": source},
        contamination=Contamination(nominate=("name", "ngram8")),
    )
    names = sorted(path.stem for path in BENCH.glob("*.yaml"))
    known = [read_questions(name, []) for name in names]
    dataset = Dataset(
        name="synthetic", recipe=recipe, against=tuple(q for q in known if q.problems)
    )
    with connect(work):
        started = time.monotonic()
        prepare(dataset, Home(work), OnCluster(workers), lambda *_: None)
        return time.monotonic() - started


def near_duplicates(rows: Path, work: Path, workers: int) -> float:
    """Seconds from `rows/shards` to `work/kept`; `work/duplicates.parquet` has who was left out."""
    spec = Duplicates()
    shards = sorted((rows / "shards").iterdir())
    for folder in ("sketches", "kept"):
        (work / folder).mkdir()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:

        def run(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterable[tuple[int, Any]]:
            return enumerate(pool.map(function, items))

        list(pool.map(time.sleep, [0.5] * workers))  # both are up, with all imports
        started = time.monotonic()
        tasks = [(shard, work / "sketches" / shard.name, spec) for shard in shards]
        sketches = [path for _, path in run(_sketched, tasks)]
        pairs = find_duplicates(sketches, spec, work, run)
        list(run(partial(_keep, pairs=pairs, folder=work / "kept"), shards))
        return time.monotonic() - started


def _sketched(task: tuple[Path, Path, Duplicates]) -> Path:
    shard, path, spec = task
    write_sketch(sketch(read_rows(shard), int(shard.stem) * SHARD_ROWS, spec), path)
    return path


def _keep(shard: Path, pairs: Path, folder: Path) -> None:
    first = int(shard.stem) * SHARD_ROWS
    wanted = [("left_out", ">=", first), ("left_out", "<", first + SHARD_ROWS)]
    gone = set(pq.read_table(pairs, columns=["left_out"], filters=wanted)["left_out"].to_pylist())
    rows = read_rows(shard)
    write_rows([row for n, row in enumerate(rows, first) if n not in gone], folder / shard.name)


if __name__ == "__main__":
    main()
