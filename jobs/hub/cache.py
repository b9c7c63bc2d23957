"""What is here already of a base model of the hub, and which of its files a run needs.

The cache is huggingface_hub's own, so every other tool finds what we fetch. Nothing here asks the
network.
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
"""Any one of them is a tokenizer."""
_OF_TOKENIZERS = (
    "tokenizer", "vocab", "merges", "special_tokens", "added_tokens", "chat_template",
)  # fmt: skip
_PAPERS = ("README", "LICENSE", "LICENCE", "NOTICE", "USE_POLICY")
_ENDINGS = (".json", ".jinja", ".model", ".tiktoken")
_TEXTS = ("merges.txt", "vocab.txt")
_SHA256_DIGITS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of one commit of a repository."""

    name: str
    size: int
    """Bytes."""
    digest: str
    """sha256 of a large file, git's id of a small one: its name among the cache's blobs."""

    @property
    def is_large(self) -> bool:
        """Whether the hub keeps it apart from git."""
        return len(self.digest) == _SHA256_DIGITS


@dataclass(frozen=True, slots=True, kw_only=True)
class HubModel:
    """A base model of an experiment, and what of it has to be fetched."""

    name: str
    """In the experiment."""
    hub: str
    revision: str
    files: tuple[HubFile, ...]
    """All that a run needs; empty where all of them are here."""

    @property
    def missing(self) -> tuple[HubFile, ...]:
        """Files that are not here yet, whole."""
        return tuple(f for f in self.files if not is_here(self.hub, self.revision, f))

    @property
    def without_weights(self) -> "HubModel":
        """The same, but for the weights."""
        return replace(self, files=tuple(f for f in self.files if not _is_weights(f.name)))

    @property
    def missing_bytes(self) -> int:
        """What is left to fetch, less what an earlier download left half done."""
        return sum(f.size - size_of(partial(self.hub, f)) for f in self.missing)


def repository(hub: str) -> Path:
    """The folder of the cache that is a repository's."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{hub.replace('/', '--')}"


def place(hub: str, revision: str, name: str) -> Path:
    """Where a file of a commit lies, or would."""
    return repository(hub) / "snapshots" / revision / name


def blob(hub: str, file: HubFile) -> Path:
    """Where the bytes of a file lie, or would."""
    return repository(hub) / "blobs" / file.digest


def partial(hub: str, file: HubFile) -> Path:
    """What has come of a file so far."""
    return blob(hub, file).with_suffix(".partial")


def is_here(hub: str, revision: str, file: HubFile) -> bool:
    """Whether a file is here, with the size that the hub says."""
    return size_of(place(hub, revision, file.name)) == file.size


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def is_genuine(path: Path, file: HubFile) -> bool:
    """Whether a file has the digest that the hub states."""
    if size_of(path) != file.size:
        return False
    if file.is_large:
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == file.digest
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.digest


def _is_weights(name: str) -> bool:
    return name.endswith((".safetensors", ".index.json"))


def needed(names: Iterable[str], weights: Collection[str]) -> list[str]:
    """The files that a run reads: configuration, tokenizer, licence and weights, no pickles.

    Args:
        names: of all files in the repository.
        weights: of the safetensors to load; a repository may hold the same weights twice.
    """
    return [name for name in names if name in weights or _is_small_and_useful(name)]


def _is_small_and_useful(name: str) -> bool:
    if "/" in name:
        return False
    if name.endswith(".index.json"):
        return name == INDEX
    return shapes_text(name) or name.upper().startswith(_PAPERS)


def shapes_text(name: str) -> bool:
    """Whether a file that holds no weights shapes what a model reads and writes."""
    return name.endswith(_ENDINGS) or name in _TEXTS


def of_tokenizer(names: Iterable[str]) -> list[str]:
    """Those that are a part of a tokenizer."""
    ends = (".tiktoken", ".model")
    return [n for n in names if "/" not in n and (n.startswith(_OF_TOKENIZERS) or n.endswith(ends))]


def of_licence(names: Iterable[str]) -> list[str]:
    """Those that say under which terms the rest may be used; the card is none of them."""
    return [n for n in names if "/" not in n and n.upper().startswith(_PAPERS[1:])]


def shards(index: Path) -> list[str]:
    """The files that an index of safetensors names, sorted."""
    return sorted(set(json.loads(index.read_text())["weight_map"].values()))


def absent(hub: str, revision: str) -> list[str]:
    """What a run would miss if the hub were not asked; nothing where all is here.

    Where the hub's list of the commit is in the cache, that decides; else what transformers needs:
    configuration, weights and a tokenizer.
    """
    listed = _listed(hub, revision)
    if listed:
        weights = _weights_here(hub, revision)
        wanted = needed(listed, weights)
        gone = [n for n in wanted if size_of(place(hub, revision, n)) != listed[n]]
        return gone or _essential(hub, revision)
    return _essential(hub, revision)


def read_config(hub: str, revision: str) -> dict[str, Any]:
    """The configuration in the cache."""
    content: dict[str, Any] = json.loads(place(hub, revision, "config.json").read_text())
    return content


def _listed(hub: str, revision: str) -> dict[str, int]:
    """Names and sizes of a commit's files, as the hub listed them once; empty: it never did."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        files = get_cached_repo_tree(hub, revision=revision)
    except CachedRepoTreeNotFoundError:
        return {}
    return {file.path: file.size for file in files}


def _weights_here(hub: str, revision: str) -> list[str]:
    index = place(hub, revision, INDEX)
    if place(hub, revision, WHOLE).is_file() or not index.is_file():
        return [WHOLE]
    return shards(index)


def _essential(hub: str, revision: str) -> list[str]:
    wanted = ["config.json", *_weights_here(hub, revision)]
    gone = [name for name in wanted if not place(hub, revision, name).is_file()]
    if not any(place(hub, revision, name).is_file() for name in TOKENIZERS):
        gone.append("a tokenizer")
    return gone
