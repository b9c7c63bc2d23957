"""Datasets of the Hugging Face hub, streamed by `datasets` from there or from its cache.

Nobody's code is run: datasets that are a script are refused by `datasets` itself.
"""

from collections.abc import Iterator
from typing import Any

from jobs.data.origin import Source
from jobs.data.records import Record
from jobs.declared import UserError


def load(name: str, source: Source) -> Any:
    """The dataset as `datasets` streams it; `num_shards` parts can be read side by side.

    Raises:
        UserError: it cannot be read, and what to do about it.
    """
    from datasets import load_dataset  # a second to import, and only the hub needs it

    try:
        return load_dataset(
            source.hub,
            source.subset or None,
            data_dir=source.data_dir or None,
            data_files=list(source.data_files) or None,
            split=source.split or "train",
            revision=source.revision or None,
            streaming=True,
        )
    except Exception as error:  # whatever a network, a cache or a parser of `datasets` raises
        raise explained(error, name, source) from error


def stream(dataset: Any, shard: int, name: str, source: Source) -> Iterator[Record]:
    """The records of one shard, in order, counted from 1.

    Raises:
        UserError: it cannot be read, and what to do about it.
    """
    part = dataset.shard(num_shards=dataset.num_shards, index=shard)
    try:
        for number, values in enumerate(part, 1):
            yield Record(number, values)
    except Exception as error:  # as above
        raise explained(error, name, source) from error


def explained(error: Exception, name: str, source: Source) -> UserError:
    """What went wrong with the hub, as something a user can do."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled

    page = f"https://huggingface.co/datasets/{source.hub}"
    said = " ".join(str(error).split())[:200]
    if isinstance(error, GatedRepoError) or "gated" in said:
        what = f"its authors ask for consent: accept their terms at {page}, then set HF_TOKEN"
    elif isinstance(error, OfflineModeIsEnabled) or "Offline" in said or "offline" in said:
        what = "HF_HUB_OFFLINE is set and it is not in the cache; unset it, or download it first"
    elif isinstance(error, DatasetNotFoundError):
        what = f"is there a {page} with commit {source.revision}? A private one needs HF_TOKEN"
    elif isinstance(error, ConnectionError | TimeoutError):
        what = "the hub cannot be reached from here; download its files and name them as files"
    elif "Unknown split" in said or "Bad split" in said:
        what = f"it has no split {source.split or 'train'!r}"
    elif "scripts are no longer supported" in said:
        what = "it is a script, which is never run; name its data files as data_files"
    else:
        what = "it cannot be read"
    return UserError(f"source {name!r}: hub dataset {source.hub!r}: {what} ({said})")
