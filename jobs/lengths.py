"""How many tokens the rows of a prepared dataset have, by the tokenizers of the models at hand."""

import json
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Count:
    """A file of rows, and the tokenizer that counts its tokens. Picklable."""

    name: str
    """What the report calls the tokenizer."""
    model: ModelSpec
    form: PromptForm
    shard: Path


def count_lengths(
    folder: DataFolder, models: Mapping[str, ModelSpec], form: PromptForm, crew: Crew
) -> tuple[Lengths, ...]:
    """The lengths of all rows by each model's tokenizer, counted now or found on disk.

    Raises:
        PromptError: a tokenizer has no template for chats.
        OSError: there is no such tokenizer.
    """
    stored = {name: _stored(folder, model, form) for name, model in models.items()}
    shards = folder.shards()
    new = [name for name, path in stored.items() if not path.exists()]
    counts = [Count(name, models[name], form, shard) for name in new for shard in shards]
    parts = [part for _, part in sorted(crew.run(count, counts), key=_place)]
    for number, name in enumerate(new):
        own = parts[number * len(shards) : (number + 1) * len(shards)]
        with written(stored[name]) as temporary:
            temporary.write_text(json.dumps(asdict(_together(own))))
    found = ((name, read_stored(Lengths, path)) for name, path in stored.items())
    return tuple(replace(lengths, tokenizer=name) for name, lengths in found)


def count(order: Count) -> Lengths:
    """The lengths of the rows of one file."""
    from transformers import AutoTokenizer

    from jobs.tokens import lengths

    model = order.model
    tokenizer = AutoTokenizer.from_pretrained(
        model.location, revision=model.revision or None, trust_remote_code=False
    )
    return lengths(read_rows(order.shard), order.form, tokenizer, EDGES, name=order.name)


def _stored(folder: DataFolder, model: ModelSpec, form: PromptForm) -> Path:
    return folder.lengths / f"{short_hash([identity(model), form])}.json"


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
