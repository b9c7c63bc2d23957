"""First stage: the records of every source become shards of rows."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from jobs.data.row import SHARD_ROWS, Refused, Row, write_rows
from jobs.data.sources import Part, read_part
from jobs.data.tally import Tally
from jobs.home import written

SHARD_CHARACTERS = 32 * 2**20
"""A shard ends here even when it has fewer rows, so that long rows do not fill the memory."""


def read(folder: Path, part: tuple[int, Part]) -> Tally:
    """Write the rows of one part of a source, unless that is done.

    Shards that an interrupted reading left are kept: the records before them are read again, but
    nothing is written twice.

    Args:
        folder: where the stage's files land: `PART-SHARD.parquet` and `PART.json`.
        part: its place among all parts, and the part.
    """
    place, content = part
    done = folder / f"{place:05d}.json"
    if not done.exists():
        tally = Tally()
        for number, rows in enumerate(_shards(_counted(read_part(content), tally))):
            path = folder / f"{place:05d}-{number:06d}.parquet"
            if not path.exists():
                with written(path) as temporary:
                    write_rows(rows, temporary)
        with written(done) as temporary:
            tally.write(temporary)
    return Tally.read(done)


def _counted(found: Iterable[Row | Refused], tally: Tally) -> Iterator[Row]:
    for row in found:
        tally.see(row.source)
        if isinstance(row, Refused):
            tally.refuse(row)
        else:
            yield row


def _shards(rows: Iterable[Row]) -> Iterator[list[Row]]:
    shard: list[Row] = []
    characters = 0
    for row in rows:
        shard.append(row)
        characters += (
            len(row.instruction)
            + len(row.input)
            + len(row.response)
            + len(row.tests)
            + len(row.preamble)
        )
        if len(shard) == SHARD_ROWS or characters >= SHARD_CHARACTERS:
            yield shard
            shard, characters = [], 0
    if shard:
        yield shard
