"""Where a dataset lies: the work in progress, and what it leaves."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPORT = "report.json"


@dataclass(frozen=True, slots=True)
class DataFolder:
    """One dataset's folder in the home, named by its digest. It exists when the dataset is done."""

    path: Path

    @property
    def rows(self) -> Path:
        """Parquet files of `jobs.data.row.Row`, in the order of the mixture."""
        return self.path / "rows"

    @property
    def report(self) -> Path:
        """`jobs.data.report.Report` as JSON."""
        return self.path / REPORT

    @property
    def lengths(self) -> Path:
        """A JSON file of `jobs.data.report.Lengths` for each tokenizer that was asked."""
        return self.path / "lengths"

    @property
    def work(self) -> Path:
        """What the stages leave each other; gone when the dataset is done."""
        return self.path.with_name(f".{self.path.name}.work")

    def sifted(self) -> list[Path]:
        """The tallies of shards that are sifted."""
        return list((self.work / "sift").glob("*.json"))

    def shards(self) -> list[Path]:
        """The files of `rows`, in order."""
        return sorted(self.rows.glob("*.parquet"))

    def read_shards(self) -> Iterator[tuple[int, Path]]:
        """(part, file) of every shard that reading left, in order."""
        for path in sorted((self.work / "read").glob("[0-9]*.parquet")):
            yield int(path.name.partition("-")[0]), path
