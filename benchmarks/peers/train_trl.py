"""trl's SFTTrainer as shipped (bf16, activations computed again, rows padded), or packed.

Packed is what trl offers for speed: best-fit packing to its `max_length` of 1024 tokens, without
padding, activations kept. A step is then one pack, which holds about as many tokens as 8 rows:
attention on a CPU is a masked one over the whole batch, so larger batches of packs are slower.
"""

import tempfile

from datasets import Dataset, disable_progress_bars
from tokenizers import Tokenizer, models
from training import (
    BATCH,
    Paced,
    Rows,
    arguments,
    base,
    from_peers,
    lora,
    options,
    tokens_of_steps,
)
from transformers import PreTrainedTokenizerFast


def main() -> None:
    """Train, on command."""
    from_peers("trl")
    from trl import SFTConfig, SFTTrainer

    told = options(__doc__)
    disable_progress_bars()
    batch = 1 if told.packed else BATCH
    more = {"packing": True, "gradient_checkpointing": False} if told.packed else {}
    more |= {"bf16": False} if told.precision == "fp32" else {}
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=base(told.base, told.width, told.layers),
            args=arguments(SFTConfig, folder, per_device_train_batch_size=batch, **more),
            train_dataset=Dataset.from_list(Rows.read(told.rows).examples()),
            processing_class=_tokenizer(),
            peft_config=lora(),
        )
        lengths = [len(tokens) for tokens in trainer.train_dataset["input_ids"]]
        trainer.add_callback(Paced(told.channel, tokens_of_steps(lengths, batch)))
        trainer.train()


def _tokenizer() -> PreTrainedTokenizerFast:
    """One that is asked for nothing but the token of padding."""
    words = models.WordLevel({"<pad>": 0, "<end>": 1}, unk_token="<pad>")
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(words), pad_token="<pad>", eos_token="<end>"
    )


if __name__ == "__main__":
    main()
