"""Rows that say the same: copies by hash, near copies by MinHash and verified Jaccard similarity.

`sketch` looks at rows by themselves. `find_duplicates` looks at all sketches of a mixture together.

The defaults are measured on 1,138 rows of MBPP and HumanEval and nine edits of each (docs/log.md):
words with punctuation, three at a time, find more of the edited rows for each pair of different
problems that they take for one than single words, pairs, fives, or three to seven characters do.
"""

import collections
import shutil
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Literal, Protocol, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, model_validator

from jobs.data.components import Components
from jobs.data.matching import PART_ROWS, Keep, Matching, among, write
from jobs.data.minhash import Banding, band_keys, best_banding
from jobs.data.row import Row
from jobs.data.shingles import Kind, normalised, shingle_sets
from jobs.declared import Declared

COMPARED_ROWS = 32_768
"""Candidates that one part of the comparing takes in before it is closed."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Run(Protocol):
    """Maps a picklable function over items; `Crew.run`."""

    def __call__(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterable[tuple[int, Result]]:
        """(position of the item, result), in any order."""


class Shingle(Declared):
    """What texts are cut into before they are compared."""

    kind: Kind = "words"
    """`words`: every sign of punctuation is one; `characters`: a run of whitespace is one."""
    size: int = Field(default=3, ge=1, le=32)
    """Words or characters in a row."""


class Duplicates(Declared):
    """Which rows count as the same, and which of them is kept."""

    exact: bool = True
    """Leave out rows whose text is equal but for whitespace."""
    near: bool = True
    """Leave out rows that are as similar as the threshold."""
    threshold: float = Field(default=0.8, gt=0, le=1)
    """Jaccard similarity of the sets of shingles, from where rows count as near copies."""
    shingle: Shingle = Shingle()
    permutations: int = Field(default=128, ge=16, le=1024)
    """Values of a MinHash signature. More find more of the pairs just above the threshold."""
    keep: Keep = "best"
    """`best`: a row that passed its tests before one that has tests before one without; then the
    longest response; then the earlier source, then the earlier row. `first`: the earlier source,
    then the earlier row."""
    compare: Literal["all", "response"] = "all"
    """The text that is compared: instruction, input and response, or the response alone."""

    @model_validator(mode="after")
    def _near_goes_with_exact(self) -> Self:
        if self.near and not self.exact:
            raise ValueError(
                "near: true leaves out exact copies too; with exact: false, set near: false"
            )
        return self

    @property
    def banding(self) -> Banding:
        """How signatures are cut."""
        return best_banding(self.threshold, self.permutations)

    @property
    def bands(self) -> tuple[str, ...]:
        """Columns of a sketch that hold keys of bands."""
        return tuple(f"band{n:03}" for n in range(self.banding.bands)) if self.near else ()


def sketch(rows: Sequence[Row], first_number: int, spec: Duplicates) -> pa.Table:
    """What the search for duplicates needs to know of each row.

    Columns: `number` (int64, ascending from `first_number`), `exact` (16 bytes: hash of the text
    with its whitespace normalised), `tests` (bool: whether the row has any), `length` (uint32:
    characters of the response), and, where near copies are looked for, a uint64 for each band, null
    where the text is empty, and `shingles` (list of uint32, ascending and distinct).
    """
    texts = [_text(row, spec) for row in rows]
    columns = {
        "number": pa.array(np.arange(len(rows), dtype=np.int64) + first_number),
        "exact": pa.array([_digest(text) for text in texts], type=pa.binary(16)),
        "tests": pa.array([bool(row.tests) for row in rows], type=pa.bool_()),
        "length": pa.array([len(row.response) for row in rows], type=pa.uint32()),
    }
    if spec.near:
        sets = shingle_sets(texts, spec.shingle.kind, spec.shingle.size)
        keys_NB = band_keys(sets, spec.permutations, spec.banding)
        for band, name in enumerate(spec.bands):
            columns[name] = pa.array(keys_NB[:, band], mask=sets.sizes == 0)
        ends = np.append(sets.starts, len(sets.hashes))
        columns["shingles"] = pa.LargeListArray.from_arrays(ends, sets.hashes)
    return pa.table(columns)


def write_sketch(table: pa.Table, path: Path) -> None:
    """One file of what `sketch` gives; as hashes do not compress, nothing is tried."""
    pq.write_table(table, path, compression="none", use_dictionary=False, write_statistics=False)


def find_duplicates(
    sketches: Sequence[Path],
    spec: Duplicates,
    folder: Path,
    run: Run,
    *,
    refused: Iterable[int] = (),
    passed: Iterable[int] = (),
) -> Path:
    """Every row of a mixture that another row stands for.

    The result does not depend on how rows are spread over sketches, nor on `run`. A search that
    was cut off goes on where it was, given the same arguments.

    Memory: here 16 bytes for each row that is anybody's candidate, and 24 for each that is left
    out. In a worker the greatest of 120 bytes for each of `PART_ROWS` rows; one sketch; and, for
    `COMPARED_ROWS` rows or the largest set of rows that candidates link, whichever is more, 4 bytes
    for each shingle, 16 for each band and 150 for each row. Two million rows of 110 shingles, one
    in ten a near copy: 0.4 GB in all; and 1.8 GB if candidates link each of them to each other.

    Args:
        sketches: files of `write_sketch`; numbers ascend within each, and no number occurs twice.
            A lower number is an earlier source, or an earlier row of the same source.
        spec: the same that the sketches were made with.
        folder: where the result goes, and, until it is there, the files on the way; workers see it
            under the same path.
        run: who does the work.
        refused: numbers of rows that have been left out for other reasons; none stands for another.
        passed: numbers of rows that passed their tests.

    Returns:
        `folder/duplicates.parquet`, ascending by `left_out`: `left_out` and `kept` (int64 numbers;
        what is kept is never left out), `kind` (`exact`: of equal text; `near`), `similarity` (the
        true Jaccard similarity of the two, at least the threshold).
    """
    result = folder / "duplicates.parquet"
    if result.exists():
        return result
    work = folder / "duplicates"
    work.mkdir(parents=True, exist_ok=True)
    rows = sum(pq.read_metadata(path).num_rows for path in sketches)
    matching = Matching(
        sketches=tuple(sketches),
        folder=work,
        bands=spec.bands,
        parts=max(1, -(-rows // PART_ROWS)),
        threshold=spec.threshold,
        keep=spec.keep,
    )
    matching.share("refused", _ascending(refused))
    matching.share("passed", _ascending(passed))
    copies = _copies(matching, run) if spec.exact and rows else _none()
    near = _near_copies(matching, copies, run) if spec.near and rows else _none()
    write(_together(copies, near), result)
    shutil.rmtree(work)
    return result


def _copies(matching: Matching, run: Run) -> pa.Table:
    found = _tables(run(matching.find_copies, range(matching.parts)))
    return found.append_column("similarity", pa.array(np.ones(len(found))))


def _near_copies(matching: Matching, copies: pa.Table, run: Run) -> pa.Table:
    refused = matching.shared("refused")
    matching.share("absent", np.union1d(refused, copies["left_out"].to_numpy()))
    tasks = [(band, part) for band in matching.bands for part in range(matching.parts)]
    pairs = [path for _, path in run(matching.find_candidates, tasks)]
    components = Components.of(pairs)
    if not len(components.numbers):
        return _none()
    parts_N = components.parts(COMPARED_ROWS)
    matching.share("candidates", components.numbers)
    matching.share("parts", parts_N)
    collections.deque(run(matching.deal, range(len(matching.sketches))), maxlen=0)
    return _tables(run(matching.compare, range(int(parts_N.max()) + 1)))


def _together(copies: pa.Table, near: pa.Table) -> pa.Table:
    """All pairs by the row left out; a copy of a row that is a near copy follows that row."""
    near = near.sort_by("left_out")
    standing = copies["kept"].to_numpy()
    follows = among(standing, near["left_out"].to_numpy())
    places = np.searchsorted(near["left_out"].to_numpy(), standing[follows])
    followed = near.take(pa.array(places)).set_column(
        0, "left_out", copies["left_out"].filter(pa.array(follows))
    )
    exact = _of_kind(copies.filter(pa.array(~follows)), "exact")
    return pa.concat_tables([exact, _of_kind(near, "near"), _of_kind(followed, "near")]).sort_by(
        "left_out"
    )


def _of_kind(pairs: pa.Table, kind: str) -> pa.Table:
    return pairs.add_column(2, "kind", pa.array([kind] * len(pairs), type=pa.string()))


def _tables(found: Iterable[tuple[int, Path]]) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for _, path in found])


def _none() -> pa.Table:
    return pa.table(
        {
            "left_out": np.empty(0, dtype=np.int64),
            "kept": np.empty(0, dtype=np.int64),
            "similarity": np.empty(0, dtype=np.float64),
        }
    )


def _ascending(numbers: Iterable[int]) -> NDArray[np.int64]:
    return np.unique(np.fromiter(numbers, dtype=np.int64))


def _text(row: Row, spec: Duplicates) -> str:
    if spec.compare == "response":
        return row.response
    return f"{row.instruction}\n{row.input}\n{row.response}"


def _digest(text: str) -> bytes:
    return blake2b(normalised(text).encode("utf-8", "surrogatepass"), digest_size=16).digest()
