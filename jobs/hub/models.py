"""Base models of the hub: looked at before anything is spent, every mistake told at once."""

import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jobs.declared import nearest
from jobs.experiment import ModelSpec
from jobs.hub.cache import (
    INDEX,
    WHOLE,
    HubFile,
    HubModel,
    absent,
    needed,
    read_config,
    repository,
    shards,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

WAITS = (1.0, 3.0)
"""Seconds before the hub is asked again, where it did not answer."""
TIMEOUT = 15.0
"""Seconds to wait for an answer."""
GIB = 2**30
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")

T = TypeVar("T")


class UnreachableError(Exception):
    """The hub does not answer; the message says why, to end a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What the hub and the cache say of the models of an experiment."""

    models: tuple[HubModel, ...]
    """Those of the hub that nothing is wrong with."""
    mistakes: tuple[str, ...]
    """What keeps the experiment from running: what, where, nearest right thing."""
    notes: tuple[str, ...]
    """What its owner may want to know."""

    @property
    def missing_bytes(self) -> int:
        """To download."""
        return sum(model.missing_bytes for model in self.models)


@dataclass
class _Hub:
    """One look at several models: once the hub was not reached, it is not asked again."""

    api: "HfApi"
    mistakes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unreachable: str = ""

    def ask(self, call: Callable[[], T]) -> T:
        """What a call returns; where the hub fails, it is called again a few times.

        Raises:
            UnreachableError: it failed each time, or had before.
        """
        if self.unreachable:
            raise UnreachableError(self.unreachable)
        for wait in (*WAITS, None):
            try:
                return call()
            except Exception as error:  # sorted by what is worth another try
                reason = unreachable(error)
                if reason is None:
                    raise
                if wait is None or is_offline():
                    self.unreachable = reason
                    raise UnreachableError(reason) from error
                time.sleep(wait)
        raise AssertionError("the last wait is None")


def look(models: Mapping[str, ModelSpec]) -> Looked:
    """Look at the models of an experiment that are on the hub; downloads a few kB at most.

    A commit that is whole in the cache is not asked for, so it needs no network.
    """
    from huggingface_hub import HfApi

    hub = _Hub(HfApi())
    found = []
    for name, spec in models.items():
        if spec.hub:
            model = _look_at(name, spec, hub)
            found += [model] if model else []
    hub.mistakes.extend(_disk(found))
    return Looked(models=tuple(found), mistakes=tuple(hub.mistakes), notes=tuple(hub.notes))


def is_offline() -> bool:
    """Whether the user forbade to ask the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def unreachable(error: Exception) -> str | None:
    """Why the hub did not answer; None where it did, or where the fault is not the network's."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled) or is_offline():
        return "HF_HUB_OFFLINE is set"
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        busy = status in (408, 429) or status >= 500
        return f"the hub answers with status {status}" if busy else None
    if isinstance(error, httpx2.TransportError):
        return f"the hub cannot be reached ({type(error).__name__})"
    if isinstance(error, LocalEntryNotFoundError):
        cause = error.__cause__
        found = unreachable(cause) if isinstance(cause, Exception) else None
        return found or "the hub cannot be reached"
    return None


def _look_at(name: str, spec: ModelSpec, hub: _Hub) -> HubModel | None:
    """A model of the hub; None where something is wrong with it, which is then told."""
    where = f"models.{name}"
    gone = absent(spec.hub, spec.revision)
    if not gone:
        wrong = _config_mistake(read_config(spec.hub, spec.revision))
        hub.mistakes += [f"{where}: {spec.hub} {wrong}"] if wrong else []
        model = HubModel(name=name, hub=spec.hub, revision=spec.revision, files=())
        return None if wrong else model
    try:
        files = _files(where, spec, hub)
    except UnreachableError as error:
        hub.mistakes.append(
            f"{where}: {error}, and of {spec.hub} at {spec.revision[:12]} the cache "
            f"{repository(spec.hub).parent} lacks {_few(gone)}; go online, or copy that cache from "
            "a machine that has it"
        )
        return None
    if files is None:
        return None
    return HubModel(name=name, hub=spec.hub, revision=spec.revision, files=files)


def _files(where: str, spec: ModelSpec, hub: _Hub) -> tuple[HubFile, ...] | None:
    """The files that a run needs, as the hub lists them; None: something is wrong, and told."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info = hub.ask(
            lambda: hub.api.model_info(
                spec.hub, revision=spec.revision, files_metadata=True, timeout=TIMEOUT
            )
        )
        listed = {s.rfilename: _file(s) for s in info.siblings or ()}
        wrong = _content_mistake(spec, list(listed), hub)
        if not wrong:
            weights = [WHOLE] if WHOLE in listed else shards(_fetched(spec, INDEX, hub))
    except HfHubHTTPError as error:
        wrong = _refused(spec, error, hub)
    except (ValueError, KeyError, TypeError, AttributeError):
        wrong = "has a config.json or an index of its weights that cannot be read"
    if wrong:
        hub.mistakes.append(f"{where}: {spec.hub} {wrong}")
        return None
    _tell_of_changes(where, spec, info, hub)
    lacking = sorted(set(weights) - set(listed))
    if lacking:
        hub.mistakes.append(f"{where}: {spec.hub} lacks {_few(lacking)}, which its index names")
        return None
    return tuple(listed[n] for n in needed(listed, weights))


def _file(sibling: Any) -> HubFile:
    digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
    return HubFile(name=sibling.rfilename, size=sibling.size or 0, digest=digest)


def _content_mistake(spec: ModelSpec, names: list[str], hub: _Hub) -> str:
    """What is wrong with a commit's files; empty: nothing."""
    if "config.json" not in names:
        adapter = "adapter_config.json" in names
        what = " but an adapter; name the base it is for" if adapter else ""
        return f"holds no config.json, so it is no model of transformers{what}"
    if not {WHOLE, INDEX} & set(names):
        pickles = [n for n in names if n.endswith(PICKLES)]
        only = f", only {_few(pickles)}" if pickles else ""
        return (
            f"has no safetensors{only}; pickles can run code and are not read. A conversion may be "
            f"among its pull requests: {_page(hub, spec)}/discussions"
        )
    return _config_mistake(json.loads(_fetched(spec, "config.json", hub).read_text()))


def _config_mistake(config: Mapping[str, Any]) -> str:
    """Why a model of this configuration cannot be trained here; empty: nothing is wrong."""
    from transformers import __version__
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as KNOWN

    kind = str(config.get("model_type", ""))
    if kind not in KNOWN:
        needs = "needs code of its own, which is never run" if config.get("auto_map") else "is new"
        hint = nearest(kind, KNOWN)
        return (
            f"is of type {kind!r}, which {needs}: transformers {__version__} has no causal model "
            f"of that type.{hint if hint.startswith(' Did') else ''}"
        )
    if quantized := config.get("quantization_config"):
        how = quantized.get("quant_method", "") if isinstance(quantized, dict) else ""
        return (
            f"is quantized already ({how or 'somehow'}); name the repository of its whole weights"
        )
    return ""


def _fetched(spec: ModelSpec, name: str, hub: _Hub) -> Path:
    """A small file, in the cache."""
    from huggingface_hub import hf_hub_download

    return Path(hub.ask(lambda: hf_hub_download(spec.hub, name, revision=spec.revision)))


def _refused(spec: ModelSpec, error: Any, hub: _Hub) -> str:
    """What the hub's refusal means, and what to do about it."""
    from huggingface_hub.errors import (
        DisabledRepoError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    match error:
        case GatedRepoError():
            return _gated(spec, hub)
        case RevisionNotFoundError():
            return _moved(spec, hub)
        case DisabledRepoError():
            return "was disabled by the hub; name another model"
        case RepositoryNotFoundError():
            return f"is not on the hub, or is private{_token_hint()}.{_near(spec, hub)}"
    if error.response.status_code == 401:
        return "was not shown: HF_TOKEN is not valid; make one at " + _tokens(hub)
    said = " ".join(str(error.server_message or error).split())[:200]
    return f"was refused with status {error.response.status_code}: {said}"


def _gated(spec: ModelSpec, hub: _Hub) -> str:
    page = _page(hub, spec)
    if not _has_token():
        return (
            f"is gated: accept its terms at {page}, make a token at {_tokens(hub)} and set HF_TOKEN"
        )
    return (
        f"is gated, and the account of HF_TOKEN was not let in: accept its terms at {page} (some "
        "authors answer by hand), and give a fine-grained token the right to read gated "
        "repositories"
    )


def _moved(spec: ModelSpec, hub: _Hub) -> str:
    """A commit that is not there: never was, or was taken out of the history."""
    said = f"has no commit {spec.revision}"
    try:
        head = hub.ask(lambda: hub.api.model_info(spec.hub, timeout=TIMEOUT)).sha
    except Exception:  # whatever it is, the mistake is already known
        return said
    return (
        f"{said}; its main is now at {head} (history: {_page(hub, spec)}/commits/main). Another "
        "commit makes other runs"
    )


def _tell_of_changes(where: str, spec: ModelSpec, info: "ModelInfo", hub: _Hub) -> None:
    """Note that a repository was renamed, or that its main has gone on."""
    if info.id != spec.hub:
        hub.notes.append(f"{where}: {spec.hub} is called {info.id} by now; both names work")
    try:
        head = hub.ask(lambda: hub.api.model_info(spec.hub, timeout=TIMEOUT)).sha
    except Exception:  # only a note is lost
        return
    if head and head != spec.revision:
        hub.notes.append(
            f"{where}: main of {spec.hub} has moved to {head[:12]}; the experiment's "
            f"{spec.revision[:12]} is used"
        )


def _near(spec: ModelSpec, hub: _Hub) -> str:
    """` Did you mean 'x'?` from the other models of its owner; nothing where that is not known."""
    owner = spec.hub.partition("/")[0]
    try:
        found = hub.ask(lambda: [m.id for m in hub.api.list_models(author=owner, limit=200)])
    except Exception:  # whatever it is, the mistake is already known
        return ""
    hint = nearest(spec.hub, found)
    return hint if hint.startswith(" Did") else ""


def _disk(models: Iterable[HubModel]) -> list[str]:
    needs = {model.name: model.missing_bytes for model in models}
    total = sum(needs.values())
    cache = repository("x/x").parent
    free = shutil.disk_usage(_existing(cache)).free
    if total <= free:
        return []
    each = ", ".join(f"{name} {size / GIB:.1f}" for name, size in needs.items() if size)
    return [
        f"disk: {total / GIB:.1f} GiB are to be downloaded ({each}), but {cache} has "
        f"{free / GIB:.1f} GiB free; free some, or set HF_HOME to a larger disk"
    ]


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())


def _has_token() -> bool:
    from huggingface_hub import get_token

    return bool(get_token())


def _token_hint() -> str:
    known = " and not shown to the account of HF_TOKEN"
    return known if _has_token() else ", which needs HF_TOKEN"


def _page(hub: _Hub, spec: ModelSpec) -> str:
    return f"{hub.api.endpoint}/{spec.hub}"


def _tokens(hub: _Hub) -> str:
    return f"{hub.api.endpoint}/settings/tokens"


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
