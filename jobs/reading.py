"""How a model reads a question, for those who ask it where it is not in this process."""

from dataclasses import dataclass
from typing import Any

from jobs.prompts import Question
from jobs.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a model reads a question, known without its weights."""

    tokenizer: Any
    ends: frozenset[int]
    """Tokens that end an answer."""
    positions: int | None
    """Tokens of prompt and answer that it was made for, where it says so."""

    def room(self, question: Question) -> int | None:
        """Tokens left for an answer, 0 or less where there are none; None: nothing says so."""
        from jobs.tokens import asked_tokens

        if self.positions is None:
            return None
        (tokens,) = asked_tokens(self.tokenizer, [question.text], templated=question.templated)
        return self.positions - len(tokens)


def reading_of(weights: Weights) -> Reading:
    """With the tokenizer of the base, and the ends of the weights that are asked.

    Raises:
        EngineError: no end token is named.
    """
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    from jobs.loaded import ends_of

    tokenizer = AutoTokenizer.from_pretrained(
        weights.location, revision=weights.revision, trust_remote_code=False
    )
    location, revision = weights.source
    config = AutoConfig.from_pretrained(location, revision=revision, trust_remote_code=False)
    try:
        usual = GenerationConfig.from_pretrained(location, revision=revision)
    except OSError:  # it has none
        usual = GenerationConfig.from_model_config(config)
    return Reading(
        tokenizer=tokenizer,
        ends=ends_of(usual.eos_token_id, tokenizer, location),
        positions=getattr(config, "max_position_embeddings", None),
    )
