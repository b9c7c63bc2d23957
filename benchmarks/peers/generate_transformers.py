"""transformers: `generate` in three ways, or its continuous batching."""

from typing import Any

import torch
from generating import ENDS, SEED, TEMPERATURE, Prompts, ended, model, options, serve
from transformers import ContinuousBatchingConfig, GenerationConfig

PAD = 0


def main() -> None:
    """Write answers, on command."""
    told = options(__doc__)
    made = model(told)
    torch.manual_seed(SEED)
    ways = {"one": _one, "batched": _batched, "returned": _returned, "continuous": _continuous}

    def write(prompts: Prompts, each: int, greedy: bool) -> list[list[int]]:
        settings = {
            "max_new_tokens": told.room,
            "do_sample": not greedy,
            "eos_token_id": list(ENDS),
            "pad_token_id": PAD,
        }
        if not greedy:
            settings |= {"temperature": TEMPERATURE, "top_k": 0, "top_p": 1.0}
        return ways[told.way](made, prompts, each, settings, told.batch)

    serve(told, write)


def _one(
    model: Any, prompts: Prompts, each: int, settings: dict[str, Any], batch: int
) -> list[list[int]]:
    """One answer after the other."""
    return [
        answer
        for prompt in prompts
        for _ in range(each)
        for answer in _padded(model, [prompt], settings)
    ]


def _batched(
    model: Any, prompts: Prompts, each: int, settings: dict[str, Any], batch: int
) -> list[list[int]]:
    """Rows of like length side by side, each with its prompt."""
    order = sorted(range(len(prompts) * each), key=lambda row: len(prompts[row // each]))
    found: dict[int, list[int]] = {}
    for at in range(0, len(order), batch):
        rows = order[at : at + batch]
        answers = _padded(model, [prompts[row // each] for row in rows], settings)
        found |= dict(zip(rows, answers, strict=True))
    return [found[row] for row in range(len(order))]


def _returned(
    model: Any, prompts: Prompts, each: int, settings: dict[str, Any], batch: int
) -> list[list[int]]:
    """Prompts of like length side by side, `num_return_sequences` answers to each."""
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    found: dict[int, list[list[int]]] = {}
    for at in range(0, len(order), max(1, batch // each)):
        chosen = order[at : at + max(1, batch // each)]
        more = settings | {"num_return_sequences": each}
        answers = _padded(model, [prompts[number] for number in chosen], more)
        for place, number in enumerate(chosen):
            found[number] = answers[place * each : (place + 1) * each]
    return [answer for number in range(len(prompts)) for answer in found[number]]


def _continuous(
    model: Any, prompts: Prompts, each: int, settings: dict[str, Any], batch: int
) -> list[list[int]]:
    """Its scheduler, its pages, the prompt shared by the answers to it."""
    answers = model.generate_batch(
        inputs=list(prompts),
        generation_config=GenerationConfig(**settings, num_return_sequences=each),
        # Told nothing, it takes most of the machine's memory for every call, and clears it.
        continuous_batching_config=ContinuousBatchingConfig(
            max_requests_per_batch=batch, num_blocks=4 * batch
        ),
    )
    found = [ended(answer.generated_tokens) for answer in answers.values()]
    assert len(found) == len(prompts) * each, "answers are missing"
    return found


def _padded(model: Any, prompts: Prompts, settings: dict[str, Any]) -> list[list[int]]:
    """The answers to prompts side by side, padded on the left."""
    longest = max(map(len, prompts))
    tokens = torch.tensor([[PAD] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    with torch.inference_mode():
        written = model.generate(input_ids=tokens, attention_mask=mask, **settings)
    return [ended(row) for row in written[:, longest:].tolist()]


if __name__ == "__main__":
    main()
