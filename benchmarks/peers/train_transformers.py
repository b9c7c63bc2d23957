"""transformers' Trainer on a model with peft's adapters; rows padded to the longest of a batch."""

import tempfile

import torch
from peft import get_peft_model
from torch.nn.utils.rnn import pad_sequence
from training import (
    BATCH,
    NO_LOSS,
    SEED,
    Paced,
    Rows,
    arguments,
    base,
    lora,
    options,
    tokens_of_steps,
)
from transformers import Trainer, TrainingArguments

Example = dict[str, list[int]]


def main() -> None:
    """Train, on command."""
    told = options(__doc__)
    examples = Rows.read(told.rows).examples()
    lengths = [len(example["input_ids"]) for example in examples]
    model = base(told.base, told.width, told.layers)
    torch.manual_seed(SEED)
    more = {"per_device_train_batch_size": BATCH, "bf16": told.precision == "bf16"}
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model=get_peft_model(model, lora()),
            args=arguments(TrainingArguments, folder, **more),
            train_dataset=examples,
            data_collator=_padded,
            callbacks=[Paced(told.channel, tokens_of_steps(lengths, BATCH))],
        ).train()


def _padded(examples: list[Example]) -> dict[str, torch.Tensor]:
    def side_by_side(name: str, filling: int) -> torch.Tensor:
        rows = [torch.tensor(example[name]) for example in examples]
        return pad_sequence(rows, batch_first=True, padding_value=filling)

    tokens = side_by_side("input_ids", 0)
    labels = side_by_side("labels", NO_LOSS)
    lengths = torch.tensor([len(example["input_ids"]) for example in examples])
    mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
    return {"input_ids": tokens, "labels": labels, "attention_mask": mask}


if __name__ == "__main__":
    main()
