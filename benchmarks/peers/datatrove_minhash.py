"""datatrove's MinHash deduplication: its four stages, two tasks at a time.

Reads the .jsonl files of a folder (`id`, `text`) and writes what it keeps and what it removes. The
last line on standard output is `{"seconds": ...}`: from the start of the first stage to the end of
the last, imports paid before. Everything is as datatrove's example has it but for the sizes of
shingles and buckets; its words are spaCy's, in lower case and without punctuation, and nothing is
compared beyond the signatures.
"""

import argparse
import json
import time
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter


def main() -> None:
    """Run the stages, one after the other."""
    options = _options()
    work, workers = options.work, options.workers
    config = MinhashConfig(
        n_grams=options.words, num_buckets=options.buckets, hashes_per_bucket=options.hashes
    )

    def stage(name: str, steps: list[PipelineStep], tasks: int) -> None:
        LocalPipelineExecutor(
            steps, tasks=tasks, workers=workers, logging_dir=f"{work}/logs/{name}"
        ).run()

    reader = JsonlReader(str(options.rows))
    signatures, buckets, removed = f"{work}/signatures", f"{work}/buckets", f"{work}/remove"
    started = time.monotonic()
    stage("signatures", [reader, MinhashDedupSignature(signatures, config=config)], workers)
    found = MinhashDedupBuckets(signatures, buckets, config=config)
    stage("buckets", [found], options.buckets)
    stage("cluster", [MinhashDedupCluster(buckets, removed, config=config)], 1)
    excluded = JsonlWriter(f"{work}/removed", compression=None)
    kept = JsonlWriter(f"{work}/kept", compression=None)
    stage("filter", [reader, MinhashDedupFilter(removed, excluded), kept], workers)
    print(json.dumps({"seconds": time.monotonic() - started}))


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    options.add_argument("--rows", type=Path, required=True, help="one .jsonl file a worker")
    options.add_argument("--work", type=Path, required=True, help="empty folder")
    options.add_argument("--words", type=int, required=True, help="in a shingle")
    options.add_argument("--buckets", type=int, required=True)
    options.add_argument("--hashes", type=int, required=True, help="in a bucket")
    options.add_argument("--workers", type=int, required=True)
    return options.parse_args()


if __name__ == "__main__":
    main()
