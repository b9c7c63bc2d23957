"""How many tokens the rows of a prepared dataset have, by the tokenizers of the models at hand."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from jobs.data.crew import Crew
from jobs.data.folder import DataFolder
from jobs.data.report import Lengths, read_stored
from jobs.data.row import read_rows
from jobs.experiment import ModelSpec, identity, short_hash
from jobs.home import written
from jobs.prompts import PromptForm

EDGES = (0, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
"""Tokens; the last bin is open above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """Counts the tokens of one file. Picklable."""

    name: str
    """What the report calls the tokenizer."""
    location: str
    revision: str
    form: PromptForm

    def __call__(self, shard: Path) -> Lengths:
        """The lengths of the rows of a file.

        Raises:
            PromptError: the tokenizer has no template for chats.
            OSError: there is no such tokenizer.
        """
        from transformers import AutoTokenizer

        from jobs.tokens import lengths

        tokenizer = AutoTokenizer.from_pretrained(
            self.location, revision=self.revision or None, trust_remote_code=False
        )
        return lengths(read_rows(shard), self.form, tokenizer, EDGES, name=self.name)


def count_lengths(
    folder: DataFolder, name: str, model: ModelSpec, form: PromptForm, crew: Crew
) -> Lengths:
    """The lengths of all rows by one model's tokenizer, counted now or found on disk.

    Raises:
        PromptError, OSError: see `Counter`.
    """
    path = folder.lengths / f"{short_hash([identity(model), form])}.json"
    if not path.exists():
        counter = Counter(name=name, location=model.location, revision=model.revision, form=form)
        parts = [part for _, part in sorted(crew.run(counter, folder.shards()), key=_place)]
        with written(path) as temporary:
            temporary.write_text(json.dumps(asdict(_together(parts))))
    return replace(read_stored(Lengths, path), tokenizer=name)


def _place(found: tuple[int, Lengths]) -> int:
    return found[0]


def _together(parts: Sequence[Lengths]) -> Lengths:
    counts = zip(*(part.counts for part in parts), strict=True)
    return replace(
        parts[0],
        counts=tuple(map(sum, counts)),
        longest=max(part.longest for part in parts),
        total=sum(part.total for part in parts),
    )
