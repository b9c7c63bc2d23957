"""The card that goes with weights: `README.md` as the Hugging Face hub reads it.

Like `jobs.cards`, it takes nothing that was declared for markup, and is no legal advice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from database.exchange import in_words
from database.facts import Standing
from jobs.card_text import Cells, document, one_line, plain, table
from jobs.cards import CARD, contamination_of, licences_of, sources_of
from jobs.data.report import Report
from jobs.experiment import Run
from jobs.home import written
from jobs.hub.licences import Terms, base_terms, together
from jobs.training.steps import STEPS, Step, read_facts, read_steps

Relation = Literal["adapter", "finetune"]
"""The hub's word for what weights are to their base. Merged ones are a `finetune` too: its `merge`
is of several models."""
PUBLISHED = {
    "humaneval": "openai/openai_humaneval",
    "humanevalplus": "evalplus/humanevalplus",
    "mbpp": "google-research-datasets/mbpp",
    "mbppplus": "evalplus/mbppplus",
}
"""Benchmarks that are datasets of the hub."""
_COUNTS = ("weights", "windows", "rows_cut", "rows_left_out", "rows_held_out", "resumed")
"""Facts that say nothing where they are 0, or that the card says elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A tuned model, as its card tells of it."""

    run: str
    label: str
    model: str
    """Name of the base in its experiment."""
    hub: str
    """Repository of the base on the hub; empty for a folder."""
    identity: str
    """Repository and commit of the base, or a hash of its files."""
    terms: Terms
    """Of the base."""
    method: Mapping[str, Any]
    """Fields of the method."""
    parallelism: Mapping[str, Any]
    seed: int
    trained: Mapping[str, Any]
    """What the trainer found: `jobs.training.steps.Facts`."""
    steps: Sequence[Step] = ()
    relation: Relation = "adapter"
    merged: bool = False
    """Whether it is an adapter that was added into its base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A score, and what was asked for it."""

    standing: Standing
    benchmark: str
    """Kind of benchmark, by its contract: `humaneval`, `custom` ..."""


def tuned_of(run: Run, checkpoint: Path) -> Tuned:
    """What a card says of the weights that a tuned run left in a folder."""
    assert run.training is not None
    facts = read_facts(checkpoint)
    return Tuned(
        run=run.id,
        label=run.label,
        model=run.model_name,
        hub=run.model.hub,
        identity=str(run.spec["base"]),
        terms=base_terms(run.model.hub, Path(run.model.location), run.model.revision),
        method=run.training.method.model_dump(mode="json", exclude_none=True),
        parallelism=run.model.parallelism.model_dump(mode="json"),
        seed=run.seed,
        trained=asdict(facts),
        steps=read_steps(checkpoint / STEPS),
        relation="adapter" if facts.weights == "adapter" else "finetune",
    )


def write_model_card(folder: Path, card: str) -> None:
    """Put a card beside weights, in place of one that is there. Safe to repeat."""
    with written(folder / CARD) as temporary:
        temporary.write_text(card, encoding="utf-8")


def model_card(tuned: Tuned, report: Report | None, scores: Sequence[Scored] = ()) -> str:
    """The card of a tuned model.

    Args:
        tuned: the model.
        report: of the dataset it was trained on; None where it is no longer known.
        scores: of its run, in the order to be shown.
    """
    data = report.licence if report else ""
    about = {
        **({"base_model": tuned.hub, "base_model_relation": tuned.relation} if tuned.hub else {}),
        "library_name": "peft" if tuned.relation == "adapter" else "transformers",
        "pipeline_tag": "text-generation",
        **together(tuned.terms.licence, data),
        "tags": ["code", "codeladder", str(tuned.method.get("kind", "lora"))],
        **_model_index(tuned, scores),
    }
    return document(
        about,
        f"# {plain(tuned.label)}",
        f"{_what(tuned)}, made by run `{tuned.run}` of Codeladder with seed {tuned.seed}.",
        *_scores(scores),
        "## Base",
        *_base(tuned),
        "## Data",
        *_data(report),
        "## Recipe",
        _recipe(tuned),
        *_training(tuned),
        *(["## Contamination", *contamination_of(report)] if report else []),
    )


def _what(tuned: Tuned) -> str:
    base = plain(f"https://huggingface.co/{tuned.hub}") if tuned.hub else plain(tuned.model)
    if tuned.relation == "adapter":
        return f"An adapter for {base}"
    return f"{base} with an adapter merged in" if tuned.merged else f"{base}, all weights tuned"


def _scores(scores: Sequence[Scored]) -> list[str]:
    """Every score with its interval, and what it is against the base, contract by contract."""
    if not scores:
        return []
    rows: list[Cells] = [_score_row(scored.standing) for scored in scores]
    heads = [
        "Benchmark", "Metric", "Score", "95 % interval", "Against its base", "Problems",
        "Answers each", "Contract",
    ]  # fmt: skip
    return [
        "## Scores",
        table(heads, rows),
        "Scores of one contract compare: it holds prompt, sampling, tests and limits. What each "
        "says is in `provenance.json`. The intervals are over problems, not over seeds.",
    ]


def _score_row(standing: Standing) -> Cells:
    result = standing.result
    judged = result.problems
    return [
        result.benchmark,
        result.metric,
        f"{100 * result.value:.1f}",
        f"{100 * result.low:.1f} to {100 * result.high:.1f}",
        in_words(result.delta) if result.delta else "",
        judged if judged == standing.asked else f"{judged} of {standing.asked}",
        result.completions,
        result.contract,
    ]


def _model_index(tuned: Tuned, scores: Iterable[Scored]) -> dict[str, Any]:
    """The hub's own form of scores, for whole benchmarks that it has as datasets."""
    results = [
        {
            "task": {"type": "text-generation"},
            "dataset": {"type": PUBLISHED[scored.benchmark], "name": scored.benchmark},
            "metrics": [{"type": metric, "name": metric, "value": round(value, 4)}],
        }
        for scored in scores
        for metric, value in [(scored.standing.result.metric, scored.standing.result.value)]
        if scored.benchmark in PUBLISHED
        and scored.standing.result.problems == scored.standing.asked
    ]
    name = one_line(tuned.label) or tuned.run
    return {"model-index": [{"name": name, "results": results}]} if results else {}


def _base(tuned: Tuned) -> list[str]:
    licence = tuned.terms.licence or "not known; look it up before you share this"
    said = [f"Weights: {plain(tuned.identity)}. Licence: {plain(licence)}."]
    return [*said, f"> {plain(tuned.terms.notice)}"] if tuned.terms.notice else said


def _data(report: Report | None) -> list[str]:
    if report is None:
        return ["Its report is no longer here, so data and licences are not known."]
    return [
        f"{plain(report.dataset)} (dataset `{report.digest}`): {report.rows_out:,} distinct rows "
        f"of {report.rows_in:,}.",
        sources_of(report),
        "## Licences of the data",
        *licences_of(report),
    ]


def _recipe(tuned: Tuned) -> str:
    return _settings({**tuned.method, **tuned.parallelism, "seed": tuned.seed})


def _training(tuned: Tuned) -> list[str]:
    """What the trainer found: where it ran, what it cost, where the loss went."""
    found = {
        name: value
        for name, value in tuned.trained.items()
        if value or (name not in _COUNTS and value is not None and name != "gpu_hours")
    }
    found.pop("weights", None)
    measured = [step for step in tuned.steps if step.held_out_loss is not None]
    if tuned.steps:
        found["loss of the last step"] = tuned.steps[-1].loss
    if measured:
        best = next((s for s in measured if s.step == tuned.trained.get("best_step")), measured[-1])
        found["loss on held-out rows"] = best.held_out_loss
    return ["## Training", _settings(found)] if found else []


def _settings(values: Mapping[str, Any]) -> str:
    rows: list[Cells] = [
        [name.replace("_", " "), _value(value)]
        for name, value in values.items()
        if value is not None
    ]
    return table(["Setting", "Value"], rows)


def _value(value: object) -> str | int:
    match value:
        case bool():
            return str(value)
        case int() | str():
            return value
        case float():
            return f"{value:.5g}"
        case dict():
            return ", ".join(f"{name} {part}" for name, part in value.items())
        case list() | tuple():
            return ", ".join(map(str, value))
        case _:
            return str(value)
