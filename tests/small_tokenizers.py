"""Small tokenizers of the kinds that models have, and a row for them."""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from jobs.data.row import Row
from jobs.prompts import alpaca

STARTER = Path(__file__).parent.parent / "models" / "starter"
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
LLAMA_2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ (bos_token or '') + '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
CODE = "def add(a, b):\n    return a + b\n"
CORPUS = [
    CODE,
    alpaca("Add two numbers.", "1 2"),
    "Write a function that adds.",
    "[INST] x [/INST]",
]


def row(instruction="Add two numbers.", given="1 2", response=CODE):
    return Row(
        instruction=instruction,
        input=given,
        response=response,
        source="s",
        place="rows.jsonl:1",
        licence="MIT",
    )


def starter(family, template=CHATML):
    """The shipped tokenizer of a family, with the two tokens of ChatML and a chat template."""
    tokenizer = AutoTokenizer.from_pretrained(STARTER / family)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]},
    )
    tokenizer.chat_template = template
    return tokenizer


def pieces(template=LLAMA_2, *, ends=False):
    """A tokenizer as Llama's sentencepiece: marked words, bytes to fall back on, a start token."""
    small = Tokenizer(models.BPE())
    small.normalizer = normalizers.Prepend("▁")
    words = [word for text in CORPUS for word in text.split()]
    small.train_from_iterator(words, trainers.BpeTrainer(vocab_size=200, show_progress=False))
    trained = json.loads(small.to_str())["model"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary = ["<unk>", "<s>", "</s>", *bytes_, *trained["vocab"]]
    model = models.BPE(
        {token: number for number, token in enumerate(vocabulary)},
        [tuple(pair) for pair in trained["merges"]],
        unk_token="<unk>",
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>" if ends else "<s> $A",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=template,
    )
