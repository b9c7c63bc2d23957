"""Counts of rows left out, each with a few examples; tallies of shards add up."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from jobs.data.report import Drop
from jobs.data.row import Refused

EXAMPLES = 3
LONGEST = 200
"""Characters of an example."""

Key = tuple[str, str, str]
"""Source, step, reason."""


@dataclass(slots=True)
class Tally:
    """How many rows were seen, and how many each reason left out."""

    seen: dict[str, int] = field(default_factory=dict)
    """Source -> rows, refused ones counted."""
    refused: dict[Key, int] = field(default_factory=dict)
    examples: dict[Key, list[str]] = field(default_factory=dict)

    def see(self, source: str, rows: int = 1) -> None:
        """Count rows of a source."""
        self.seen[source] = self.seen.get(source, 0) + rows

    def refuse(self, refused: Refused) -> None:
        """Count a row left out; the first few are kept as examples."""
        key = (refused.source, refused.step, refused.reason)
        self.refused[key] = self.refused.get(key, 0) + 1
        shown = self.examples.setdefault(key, [])
        if len(shown) < EXAMPLES:
            shown.append(f"{refused.place}: {refused.found}"[:LONGEST])

    def count(self, source: str, step: str, reason: str, rows: int) -> None:
        """Count rows left out, without examples."""
        if rows:
            key = (source, step, reason)
            self.refused[key] = self.refused.get(key, 0) + rows
            self.examples.setdefault(key, [])

    def add(self, other: "Tally") -> None:
        """Count what another tally counted, its examples after ours."""
        for source, rows in other.seen.items():
            self.see(source, rows)
        for key, rows in other.refused.items():
            self.refused[key] = self.refused.get(key, 0) + rows
            shown = self.examples.setdefault(key, [])
            shown += other.examples[key][: EXAMPLES - len(shown)]

    def drops(self) -> tuple[Drop, ...]:
        """As the report lists them: by source, step, reason."""
        return tuple(
            Drop(
                source=key[0],
                step=key[1],
                reason=key[2],
                rows=rows,
                examples=tuple(self.examples[key]),
            )
            for key, rows in sorted(self.refused.items())
        )

    def write(self, path: Path) -> None:
        """To a JSON file."""
        listed = [[*key, rows, self.examples[key]] for key, rows in self.refused.items()]
        path.write_text(json.dumps({"seen": self.seen, "refused": listed}))

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a JSON file that `write` wrote."""
        stored = json.loads(path.read_text())
        tally = cls(seen=stored["seen"])
        for source, step, reason, rows, examples in stored["refused"]:
            tally.refused[source, step, reason] = rows
            tally.examples[source, step, reason] = examples
        return tally


def total(tallies: Iterable[Tally]) -> Tally:
    """The sum, examples from the first tallies that have them."""
    whole = Tally()
    for tally in tallies:
        whole.add(tally)
    return whole
