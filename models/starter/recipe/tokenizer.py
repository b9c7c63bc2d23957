"""The byte-level tokenizer that the three models share."""

import json
from pathlib import Path
from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from models.starter.recipe import SEED
from models.starter.recipe.corpus import corpus
from models.starter.recipe.problems import training_rows

VOCABULARY = 1_536
END = "<|end|>"
PAD = "<|pad|>"
TEXTS = 12_000
"""Texts of the corpus that the merges are counted on."""
ROWS = 1_500
TEMPLATE = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n",
    "Below is an instruction that describes a task, "
    "paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n",
    "### Instruction:\n",
    "\n\n### Input:\n",
    "\n\n### Response:\n",
)
"""The words of the form the models are tuned with, so that it costs few tokens. No model is
pretrained on it."""
PIECES = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's split, but every digit by itself. No piece crosses from `):` into the line break after
it, so a prompt may end with a signature and the tokens of a body follow unchanged."""


def train_tokenizer(seed: int = SEED) -> Tokenizer:
    """Count merges on a part of the corpus, on instructions and on the words of the tuning form."""
    texts = corpus(seed)[:TEXTS]
    texts += [row.instruction for row in training_rows(seed)[:ROWS]]
    texts += ["".join(TEMPLATE)] * (TEXTS // 10)
    Random(f"tokenizer {seed}").shuffle(texts)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the two files from which `AutoTokenizer.from_pretrained(folder)` loads."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PAD,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps(settings, indent=2) + "\n", encoding="utf-8"
    )
