"""Our engine, on prompts that are tokens already."""

from pathlib import Path

from generating import ENDS, SEED, TEMPERATURE, Prompts, model, options, serve
from transformers import AutoTokenizer

from jobs.engine import written
from jobs.generation.draws import Sampling
from jobs.generation.rows import Prompt, Row
from jobs.generation.stops import Stops
from jobs.loaded import SEATS_CPU, TOKENS_AT_ONCE_CPU, Loaded, lay_out

TOKENIZER = Path(__file__).resolve().parents[2] / "models" / "starter" / "llama"


def main() -> None:
    """Write answers, on command."""
    told = options(__doc__)
    made = model(told)
    lay_out(made)
    loaded = Loaded(
        model=made,
        tokenizer=AutoTokenizer.from_pretrained(TOKENIZER),  # answers are made text too
        device=made.device,
        ends=frozenset(ENDS),
        budget=TOKENS_AT_ONCE_CPU,
        seats=SEATS_CPU,
    )
    stops = Stops(loaded, ())

    def write(prompts: Prompts, each: int, greedy: bool) -> list[list[int]]:
        asked = [
            Prompt(str(number), tuple(tokens), told.room) for number, tokens in enumerate(prompts)
        ]
        rows = [Row(prompt, position) for prompt in asked for position in range(each)]
        sampling = Sampling(temperature=0.0 if greedy else TEMPERATURE, seed=SEED)
        done = sorted(
            written(loaded, rows, sampling, stops),
            key=lambda row: (int(row.prompt.task_id), row.position),
        )
        return [row.tokens for row in done]

    serve(told, write)


if __name__ == "__main__":
    main()
