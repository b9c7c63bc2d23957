"""The README of each model: what it is, how it was made, what it can do, and the digest of its
weights."""

import json
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from models.starter.recipe.pretrain import Record

RECORD = "pretraining.json"
FIGURES = "figures.json"
"""Beside the model folders: scores on the starter benchmark, measured by a person and kept by
hand."""
MEASURED = "2026-11-28"
"""The day of those scores."""
STANDS_FOR = {
    "falcon": "Falcon: one key and value head for all queries, attention beside feed-forward",
    "mistral": "Mistral: four query heads over two key and value heads",
    "llama": "Llama, which is also that of Code Llama: as many key and value heads as query heads",
}
CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---
# Starter {name}

A base model of {parameters:,} parameters with the architecture of {stands_for}. It exists so that a
whole experiment, tuning included, fits into minutes on a processor. It knows small list, text and
number functions and nothing else; it is no substitute for a real code model.

## Recipe

`python -m models.starter.recipe pretrain --model {name}`, seed {seed}. {tokens:,} tokens in
{steps:,} steps of {batch} sequences of {length}; Muon ({matrix_rate}) on the matrices, AdamW
({other_rate}) on the rest, linear warm-up over {warm_up} steps, linear decay over the last
{decay:.0%}. {seconds} processor seconds of one thread. Python {python}, torch {torch}, transformers
{transformers}. The same seed gives the same losses on the same kind of processor and the same
releases; elsewhere the weights come out near, not equal.

| step | loss (nats per token) |
|---|---|
{losses}

## Data

Commented functions composed by this project's own grammar, and {library:.0%} standard library
source of Python (PSF licence). Left out: the held-out fifth of the compositions, the argument names
of the benchmark, and every instruction with a response. `tests/test_starter_data.py` proves the
separation.

## Figures

Starter benchmark, pass@1 from 5 completions per problem at temperature 0.2, signature given, by
`python -m jobs run experiments/starter.yaml` on {measured}.

{figures}

## Weights

`model.safetensors`, bfloat16, sha256
`{digest}`

Licence: Apache-2.0.
"""


def save_record(record: Record, folder: Path) -> None:
    """Keep beside the weights how they were made."""
    text = json.dumps(asdict(record), indent=2) + "\n"
    (folder / RECORD).write_text(text, encoding="utf-8")


def figures_table(name: str, models: Path) -> str:
    """Base and tuned scores of a model, or a note that none were measured."""
    path = models / FIGURES
    measured = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if name not in measured:
        return "Not measured."
    figures = measured[name]
    lines = ["| model | pass@1 |", "|---|---|", f"| base | {figures['base']:.3f} |"]
    lines += [
        f"| LoRA, tuning seed {seed} | {score:.3f} |" for seed, score in figures["tuned"].items()
    ]
    return "\n".join(lines)


def write_card(name: str, models: Path, library_share: float) -> None:
    """Write the card of one model from its record, its weights and the measured figures."""
    folder = models / name
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    plan = record["plan"]
    text = CARD.format(
        name=name,
        stands_for=STANDS_FOR[name],
        parameters=record["parameters"],
        seed=record["seed"],
        tokens=plan["steps"] * plan["batch"] * plan["length"],
        decay=plan["decay_share"],
        seconds=record["processor_seconds"],
        library=library_share,
        losses="\n".join(f"| {step} | {loss} |" for step, loss in every_sixth(record["losses"])),
        figures=figures_table(name, models),
        measured=MEASURED,
        digest=sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        **{
            key: plan[key]
            for key in ("steps", "batch", "length", "matrix_rate", "other_rate", "warm_up")
        },
        **{key: record[key] for key in ("python", "torch", "transformers")},
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def every_sixth(losses: dict[str, float]) -> list[tuple[str, float]]:
    """Some of the losses, the first and the last among them."""
    pairs = list(losses.items())
    return [*pairs[:-1:6], pairs[-1]]
