"""What the stages found becomes the report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.data.blending import Blended
from jobs.data.deciding import Touched, nested
from jobs.data.report import DuplicatePair, Execution, Report, SourceCount
from jobs.data.row import SHARD_ROWS, Refused
from jobs.data.sifting import Shard
from jobs.data.tally import EXAMPLES, Tally
from jobs.data.terms import attribution_lines, strictest
from jobs.experiment import Dataset

SHOWN_PAIRS = 1000
"""Duplicates that the report lists."""


def summarise(
    dataset: Dataset,
    tally: Tally,
    finds: Touched,
    execution: Execution,
    pairs: Sequence[DuplicatePair],
    duplicates: Path,
    blended: Mapping[str, Blended],
) -> Report:
    """The report of a dataset.

    Args:
        dataset: its recipe has licences and terms.
        tally: of all stages together.
        finds: what rows have of problems.
        execution: what was run.
        pairs: the first duplicates.
        duplicates: all of them.
        blended: what was written, source by source.
    """
    sources = tuple(
        _source(name, dataset, tally, blended.get(name, Blended()))
        for name in dataset.recipe.sources
    )
    licences = [licence for part in blended.values() for licence in part.licences]
    return Report(
        dataset=dataset.name,
        digest=dataset.digest,
        rows_in=sum(count.rows_in for count in sources),
        rows_out=sum(count.rows_out for count in sources),
        rows_written=sum(count.rows_written for count in sources),
        sources=sources,
        drops=tally.drops(),
        duplicates=tuple(pairs),
        duplicate_pairs=pq.read_metadata(duplicates).num_rows,
        touches=tuple(finds.touches),
        touched=nested(finds.touched),
        trained_on=nested(finds.trained_on),
        execution=execution,
        lengths=(),
        licence=strictest(licences),
        attributions=attribution_lines(_by_licence(sources, blended)),
        terms=tuple(f"{count.source}: {count.terms}" for count in sources if count.terms),
        benchmarks={q.name: q.recipe.source.sha256 for q in dataset.against},
    )


def duplicate_pairs(
    duplicates: Path, shards: Sequence[Shard], tally: Tally
) -> tuple[DuplicatePair, ...]:
    """The first pairs, with the places of their rows; all pairs are counted in `tally`."""
    table = pq.read_table(duplicates)
    by_number = {shard.number: shard for shard in shards}
    counted = _by_source_and_kind(table, by_number)
    listed = table.slice(0, SHOWN_PAIRS).to_pylist()
    first = [pair for own in counted.values() for pair in table.take(own[:EXAMPLES]).to_pylist()]
    places = _places([*listed, *first], by_number)
    for (source, kind), own in counted.items():
        for pair in table.take(own[:EXAMPLES]).to_pylist():
            found = f"{places[pair['kept']]} says the same ({pair['similarity']:.2f})"
            place = places[pair["left_out"]].removeprefix(f"{source}/")
            tally.refuse(_refused(source, place, "duplicates", kind, found))
        tally.count(source, "duplicates", kind, len(own) - min(len(own), EXAMPLES))
    return tuple(
        DuplicatePair(
            left_out=places[pair["left_out"]],
            kept=places[pair["kept"]],
            kind=pair["kind"],
            similarity=round(pair["similarity"], 4),
        )
        for pair in listed
    )


def _by_source_and_kind(
    table: pa.Table, shards: Mapping[int, Shard]
) -> dict[tuple[str, str], NDArray[np.int64]]:
    """Source and kind -> places of its pairs in the table, ascending."""
    numbers_P = table["left_out"].to_numpy() // SHARD_ROWS
    kinds_P = np.array(table["kind"].to_pylist())
    names = sorted({shard.source for shard in shards.values()})
    source_of = np.zeros(max(shards, default=0) + 1, dtype=np.int64)
    for number, shard in shards.items():
        source_of[number] = names.index(shard.source)
    found = {}
    for place, name in enumerate(names):
        for kind in ("exact", "near"):
            own = np.flatnonzero((source_of[numbers_P] == place) & (kinds_P == kind))
            if len(own):
                found[name, kind] = own
    return found


def _places(pairs: Iterable[Mapping[str, int]], shards: Mapping[int, Shard]) -> dict[int, str]:
    """Number of a row -> `source/file:17`, for the rows of some pairs."""
    wanted = sorted({pair[end] for pair in pairs for end in ("left_out", "kept")})
    places = {}
    for number, group in groupby(wanted, key=lambda row: row // SHARD_ROWS):
        shard = shards[number]
        known = pq.read_table(shard.sifted, columns=["place"])["place"]
        for row in group:
            places[row] = f"{shard.source}/{known[row - shard.first_number].as_py()}"
    return places


def _refused(source: str, place: str, step: str, reason: str, found: str) -> Refused:
    return Refused(source=source, place=place, step=step, reason=reason, found=found)


def _source(name: str, dataset: Dataset, tally: Tally, part: Blended) -> SourceCount:
    source = dataset.recipe.sources[name]
    return SourceCount(
        source=name,
        licence=strictest(part.licences) or source.licence,
        attribution=source.attribution,
        terms=source.terms,
        rows_in=tally.seen.get(name, 0),
        rows_out=part.distinct,
        rows_written=part.written,
    )


def _by_licence(
    sources: Sequence[SourceCount], blended: Mapping[str, Blended]
) -> list[SourceCount]:
    """Sources whose rows have licences of their own, one entry for each of these. Whom single rows
    name stands beside the rows, in their column `attribution`: there may be as many as rows."""
    return [
        replace(count, licence=licence, rows_out=rows)
        for count in sources
        for licence, rows in sorted(blended.get(count.source, Blended()).licences.items())
    ]
