"""`python -m jobs export`: the weights of a run for others to use, with all that is known of it."""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console
from sqlalchemy import Engine

from database.facts import CheckpointFacts, RunFacts, RunPage
from database.queries import contract, report, run_page, runs
from database.session import open_for_reading
from database.standings import contract_of
from jobs.cards import CARD
from jobs.data.report import Report
from jobs.declared import UserError
from jobs.experiment import ModelSpec, short_hash
from jobs.exports.folder import PROVENANCE, Part, fill, of_file, of_text
from jobs.exports.merging import Merge, Merger
from jobs.exports.model_cards import Scored, Tuned, model_card
from jobs.home import Home
from jobs.hub.cache import INDEX, WHOLE, absent, of_licence, of_tokenizer, place
from jobs.hub.licences import base_terms, cautions
from jobs.hub.upload import check_target, upload
from jobs.methods import AnyMethod
from jobs.named_runs import named_run
from jobs.progress import Board
from jobs.recipes import ROOT
from jobs.record import weights_digest
from jobs.storage.keeping import Storage
from jobs.training.steps import STEPS, read_steps

ADAPTER_CONFIG = "adapter_config.json"
CONFIGS = ("config.json", "generation_config.json")
_TOLD = ("commit", "dirty", "python", "platform", "libraries", "experiment")
"""What of a run's provenance is published: no host, no path, no command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for."""

    to: Path | None
    """Folder; None: one below the folder of work."""
    merged: bool
    """Whole weights instead of an adapter."""
    hub: str
    """Repository to upload to; empty: none."""
    public: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A run that has weights, and where everything of it is."""

    page: RunPage
    weights: CheckpointFacts
    checkpoint: Path
    hub: str
    """Repository of the base; empty for a folder."""
    revision: str
    base: Path
    """Folder of the base; one of the hub may not be there yet."""

    @property
    def run(self) -> RunFacts:
        """As the ledger knows it."""
        return self.page.run

    @property
    def is_full(self) -> bool:
        """Whether the training left whole weights."""
        return self.weights.kind == "full"


def export(name: str, wanted: Wanted, console: Console) -> None:
    """Write a run's weights into a folder and, where asked for, upload it. Safe to repeat.

    Args:
        name: id of the run, or its label.
        wanted: what and where.
        console: told what is done, and what to be careful about.

    Raises:
        UserError: there is no such run, it has no weights, or they are not what was recorded.
        LedgerError: there is no ledger.
    """
    if wanted.hub:
        check_target(wanted.hub)
    ledger, home = open_for_reading(), Home.from_environment()
    source = find_source(name, ledger, home)
    merged = wanted.merged and not source.is_full
    if wanted.merged and source.is_full:
        _say(console, f"{source.run.label}: its weights are whole already; nothing to merge")
    _expect_recorded(source)
    told = report(ledger, source.run.dataset_digest or "")
    data = TypeAdapter(Report).validate_python(told) if told else None
    has_base = source.is_full or _fetch_base(source, console, whole=merged)
    tuned = _tuned(source, merged=merged)
    for caution in cautions(tuned.terms, data.licence if data else ""):
        _say(console, f"Careful: {caution}", style="yellow")
    scores = [_scored(standing, ledger) for standing in source.page.standings]
    parts = [
        *(_merged_parts(source) if merged else _kept_parts(source, has_base=has_base)),
        of_text(CARD, model_card(tuned, data, scores)),
    ]
    folder = wanted.to or home.folder / "exports" / f"{source.run.id}{'-merged' * merged}"
    made = fill(folder, _about(source, scores, ledger), parts, lambda n: _say(console, f"  {n}"))
    _say(console, f"{folder}: {made} files made, {len(parts) - made} were there")
    if wanted.hub:
        message = f"Codeladder run {source.run.id}"
        _say(console, f"Uploaded to {upload(folder, wanted.hub, message, public=wanted.public)}")


def find_source(name: str, ledger: Engine, home: Home) -> Source:
    """The run of this id or label, with its weights.

    Raises:
        UserError: there is none, several have this label, or it left no weights.
    """
    known = runs(ledger)
    found = named_run(name, known, [run for run in known if run.kind == "tuned"])
    page = run_page(ledger, found.id)
    assert page is not None
    if page.run.kind != "tuned":
        what = "a base as it came" if page.run.kind == "base" else "answers made elsewhere"
        raise UserError(f"{page.run.label} is {what}; only what a training made can be exported")
    if page.checkpoint is None:
        raise UserError(f"{page.run.label} has no weights yet; it is {page.run.state}")
    return _source(page, page.checkpoint, home)


def _source(page: RunPage, weights: CheckpointFacts, home: Home) -> Source:
    model = page.run.provenance["model"]
    hub = model["location"] if model["revision"] else ""
    revision = model["revision"] or ""
    base = place(hub, revision, "config.json").parent if hub else Path(model["location"])
    return Source(
        page=page,
        weights=weights,
        checkpoint=_checkpoint(page.run.id, weights, home),
        hub=hub,
        revision=revision,
        base=base,
    )


def _checkpoint(run_id: str, weights: CheckpointFacts, home: Home) -> Path:
    """Where they were left, or in this folder of work, from a store perhaps."""
    left, mine = home.folder / weights.path, home.run(run_id) / "checkpoint"
    if left.is_dir() or not Storage.from_environment(home.folder).there(mine):
        return left
    return mine


def _expect_recorded(source: Source) -> None:
    """Weights that changed since they were scored would be published under others' scores."""
    if not source.checkpoint.is_dir():
        raise UserError(f"{source.run.label}: its weights are gone from {source.checkpoint}")
    try:
        digest = weights_digest(source.checkpoint)
    except FileNotFoundError as error:
        raise UserError(f"{source.run.label}: {error}") from None
    if digest != source.weights.sha256:
        raise UserError(
            f"{source.run.label}: the weights in {source.checkpoint} are not those that were "
            "recorded and scored; they were changed or damaged"
        )


def _fetch_base(source: Source, console: Console, *, whole: bool) -> bool:
    """Have the base's files here: all of them to merge, else its tokenizer; whether they are.

    Raises:
        UserError: the weights are needed, and not to be had.
    """
    from jobs.hub.download import download
    from jobs.hub.models import look

    if not source.hub:
        if whole and not source.base.is_dir():
            raise UserError(f"{source.run.label}: its base is gone from {source.base}")
        return source.base.is_dir()
    if not absent(source.hub, source.revision):
        return True
    looked = look({source.run.model: ModelSpec(hub=source.hub, revision=source.revision)})
    if looked.mistakes and whole:
        raise UserError("\n".join(looked.mistakes))
    for mistake in looked.mistakes:
        _say(console, f"Careful: the tokenizer is left out: {mistake}", style="yellow")
    with Board(console) as board:
        for model in looked.models:
            download(
                [model if whole else model.without_weights],
                lambda name, done, total: board.update(f"fetching {name}", "bytes", done, total),
            )
    return bool(looked.models)


def _tuned(source: Source, *, merged: bool) -> Tuned:
    run = source.run
    return Tuned(
        run=run.id,
        label=run.label,
        model=run.model,
        hub=source.hub,
        identity=str(run.spec["base"]),
        terms=base_terms(source.hub, source.base, source.revision),
        method=run.provenance["method"],
        parallelism=run.provenance["parallelism"],
        seed=run.seed,
        trained=source.weights.facts,
        steps=read_steps(source.checkpoint / STEPS),
        relation="finetune" if merged or source.is_full else "adapter",
        merged=merged,
    )


def _scored(standing: Any, ledger: Engine) -> Scored:
    judging = contract(ledger, standing.judging) or {}
    return Scored(standing=standing, benchmark=str(judging.get("benchmark", "")))


def _kept_parts(source: Source, *, has_base: bool) -> list[Part]:
    """What the training left, and the tokenizer of the base where it did not leave one."""
    names = sorted(path.name for path in source.checkpoint.iterdir() if path.is_file())
    kept = [name for name in names if name not in (CARD, PROVENANCE, ADAPTER_CONFIG)]
    parts = [of_file(source.checkpoint / name) for name in kept]
    if source.is_full:
        return parts
    parts.append(_adapter_config(source))
    beside = _beside(source.base) if has_base else []
    return parts + [of_file(source.base / name) for name in beside]


def _adapter_config(source: Source) -> Part:
    """peft's configuration, in which the base has a name that others can load."""
    config = json.loads((source.checkpoint / ADAPTER_CONFIG).read_text())
    config["base_model_name_or_path"] = source.hub or _portable(source.base)
    config["revision"] = source.revision or None
    return of_text(ADAPTER_CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")


def _portable(folder: Path) -> str:
    return str(folder.relative_to(ROOT)) if folder.is_relative_to(ROOT) else folder.name


def _merged_parts(source: Source) -> list[Part]:
    """The base's files with the adapter in its weights."""
    settings = None
    if source.run.provenance["method"].get("quantization"):
        method: Any = TypeAdapter(AnyMethod).validate_python(source.run.spec["method"])
        settings = method.settings()
    merge = Merge(base=source.base, adapter=source.checkpoint, settings=settings)
    merger = Merger(merge)
    made_of = short_hash([source.weights.sha256, source.run.spec["base"]])
    if merger.streams:
        weights = [
            Part(name=f.name, made_of=made_of, write=_bound(merger.write, f)) for f in merger.files
        ]
    else:
        weights = [Part(name=WHOLE, made_of=made_of, write=_whole(merger))]
    configs = (*CONFIGS, INDEX) if merger.streams else CONFIGS
    named = [name for name in configs if (source.base / name).is_file()] + _beside(source.base)
    others = [_plain_config(source.base / name) for name in named]
    own = [of_file(source.checkpoint / name) for name in ("facts.json", STEPS)]
    return weights + others + own


def _bound(write: Callable[[Path, Path], None], file: Path) -> Callable[[Path], None]:
    return lambda path: write(file, path)


def _whole(merger: Merger) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
            merger.write_whole(Path(folder))
            (Path(folder) / WHOLE).rename(path)

    return write


def _beside(base: Path) -> list[str]:
    """The files of a base that its tuned weights need too, and those of its licence."""
    names = sorted(path.name for path in base.iterdir())
    return sorted({*of_tokenizer(names), *of_licence(names)})


def _plain_config(path: Path) -> Part:
    """A file of the base; a configuration without the code that it names, which is not copied."""
    if path.suffix == ".json" and path.name != INDEX:
        content = json.loads(path.read_text())
        if isinstance(content, dict) and content.pop("auto_map", None):
            return of_text(path.name, json.dumps(content, indent=2) + "\n")
    return of_file(path)


def _about(source: Source, scores: list[Scored], ledger: Engine) -> Mapping[str, Any]:
    """Where the weights came from: what hashes to the run's id, and what made it."""
    run = source.run
    pairs = {(scored.standing.asking, scored.standing.judging) for scored in scores}
    return {
        "run": run.id,
        "label": run.label,
        "weights": {"kind": source.weights.kind, "sha256": source.weights.sha256},
        "spec": run.spec,
        **{key: run.provenance[key] for key in _TOLD if key in run.provenance},
        "contracts": {
            contract_of(*pair): {
                "asking": contract(ledger, pair[0]),
                "judging": contract(ledger, pair[1]),
            }
            for pair in sorted(pairs)
        },
    }


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)
