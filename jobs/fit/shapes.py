"""The shape of a decoder: what its parameters and activations are counted from.

Read from a `config.json`; needs no library, no network and no weights.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

USUAL_VOCABULARY = 128_000
"""Of a model of today; older ones have a quarter of it, and need less."""
USUAL_HEAD_WIDTH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """One linear layer of a block."""

    name: str
    """As `targets` of a method names it."""
    reads: str
    """What goes in; layers that read the same share the tensor."""
    inputs: int
    outputs: int
    bias: bool = False

    @property
    def parameters(self) -> int:
        """Of the matrix and the bias."""
        return self.outputs * (self.inputs + self.bias)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A decoder: equal blocks between an embedding and an output layer."""

    family: str
    """`model_type` of its config; empty where only its number of parameters is known."""
    layers: int
    width: int
    """Of the residual stream."""
    heads: int
    kv_heads: int
    head_width: int
    intermediate: int
    """Width of the MLP."""
    vocabulary: int
    tied: bool
    """Whether the output layer is the embedding."""
    linears: tuple[Linear, ...]
    """Of one block."""
    norms: int
    """Norms of a block over the whole width."""
    layer_norm: bool = False
    """Whether norms subtract the mean and add a bias."""
    head_norms: bool = False
    """Whether queries and keys are normalised too, head by head."""

    @property
    def gated(self) -> bool:
        """Whether the MLP multiplies two projections, as in SwiGLU."""
        into = sum(linear.outputs for linear in self.linears if linear.reads == "mlp")
        return into > self.intermediate

    @property
    def parallel(self) -> bool:
        """Whether attention and MLP read the same, as in Falcon."""
        return self.norms == 1

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, and as many of an output layer of its own."""
        return self.vocabulary * self.width

    @property
    def outside(self) -> int:
        """Parameters of no block: embedding, output layer, last norm."""
        return self.embedding * (1 if self.tied else 2) + self.norm

    @property
    def block(self) -> int:
        """Parameters of one block."""
        norms = self.norms * self.norm + 2 * self.head_width * self.head_norms
        return sum(linear.parameters for linear in self.linears) + norms

    @property
    def norm(self) -> int:
        """Parameters of one norm over the whole width."""
        return self.width * (2 if self.layer_norm else 1)

    @property
    def parameters(self) -> int:
        """Of the whole model."""
        return self.layers * self.block + self.outside


def shape_of(location: str, revision: str, parameters: float) -> Shape | None:
    """What is known of a model without asking the network.

    Args:
        location: a folder with a `config.json`, or a repository on the hub, which is looked for
            among those already downloaded.
        revision: a commit of that repository.
        parameters: how many it has, for the usual shape where there is no `config.json`; 0: not
            known.

    Returns:
        None where nothing is known.
    """
    folder = Path(location)
    if not folder.is_absolute():
        folder = _downloaded(location, revision)
    shape = read_shape(folder)
    if shape is None and parameters:
        return usual_shape(parameters)
    return shape


def read_shape(folder: Path) -> Shape | None:
    """The shape that a folder's `config.json` states; None where there is none, or no decoder's."""
    try:
        config = json.loads((folder / "config.json").read_text())
        return shape_from(config)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def shape_from(config: Mapping[str, Any]) -> Shape:
    """The shape that the content of a `config.json` states.

    Raises:
        KeyError: it lacks what every decoder states.
    """
    config = config.get("text_config") or config
    family = str(config.get("model_type", ""))
    width, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    head_width = int(config.get("head_dim") or _HEAD_WIDTHS.get(family) or width // heads)
    kv_heads = _kv_heads(family, config, heads)
    intermediate = int(
        config.get("ffn_hidden_size") or config.get("intermediate_size") or 4 * width
    )
    linears = _LINEARS.get(family, _llama)(
        _Sizes(width, heads * head_width, kv_heads * head_width, intermediate, config)
    )
    return Shape(
        family=family,
        layers=int(config["num_hidden_layers"]),
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        intermediate=intermediate,
        vocabulary=int(config["vocab_size"]),
        tied=bool(config.get("tie_word_embeddings", family in _TIED)),
        linears=linears,
        norms=_norms(family, config),
        layer_norm=family in _LAYER_NORM,
        head_norms=family in _HEAD_NORMS,
    )


def usual_shape(parameters: float) -> Shape:
    """A decoder in the manner of Llama, as deep and wide as is usual for its size.

    A block has some 12 d^2 parameters (Kaplan et al. 2020, arXiv:2001.08361, table 1), and is
    taken to be 128 times as wide as the model is deep.

    Args:
        parameters: of the model, more than 0.
    """
    layers = max(1, round((parameters / (12 * 128**2)) ** (1 / 3)))
    # 12 L d^2 + 2 V d = N
    root = sqrt(USUAL_VOCABULARY**2 + 12 * layers * parameters)
    width = max(1, round((root - USUAL_VOCABULARY) / (12 * layers)))
    heads = max(1, round(width / USUAL_HEAD_WIDTH))
    intermediate = round(width * 8 / 3)
    return Shape(
        family="",
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        intermediate=intermediate,
        vocabulary=USUAL_VOCABULARY,
        tied=False,
        linears=_llama(_Sizes(width, width, width, intermediate, {})),
        norms=2,
    )


@dataclass(frozen=True, slots=True)
class _Sizes:
    width: int
    queries: int
    keys: int
    intermediate: int
    config: Mapping[str, Any]

    def says(self, key: str, default: bool = False) -> bool:
        return bool(self.config.get(key, default))

    def linears(self, *named: tuple[str, str, int, int, bool]) -> tuple[Linear, ...]:
        return tuple(
            Linear(name=name, reads=reads, inputs=inputs, outputs=outputs, bias=bias)
            for name, reads, inputs, outputs, bias in named
        )


def _attention(s: _Sizes, into: bool, out: bool) -> tuple[Linear, ...]:
    return s.linears(
        ("q_proj", "attention", s.width, s.queries, into),
        ("k_proj", "attention", s.width, s.keys, into),
        ("v_proj", "attention", s.width, s.keys, into),
        ("o_proj", "heads", s.queries, s.width, out),
    )


def _llama(s: _Sizes) -> tuple[Linear, ...]:
    into, out, mlp = s.says("attention_bias"), s.says("attention_bias"), s.says("mlp_bias")
    if s.config.get("model_type") == "qwen2":
        into, out = True, False
    return _attention(s, into, out) + s.linears(
        ("gate_proj", "mlp", s.width, s.intermediate, mlp),
        ("up_proj", "mlp", s.width, s.intermediate, mlp),
        ("down_proj", "hidden", s.intermediate, s.width, mlp),
    )


def _starcoder2(s: _Sizes) -> tuple[Linear, ...]:
    bias = s.says("use_bias", True)
    return _attention(s, bias, bias) + s.linears(
        ("c_fc", "mlp", s.width, s.intermediate, bias),
        ("c_proj", "hidden", s.intermediate, s.width, bias),
    )


def _falcon(s: _Sizes) -> tuple[Linear, ...]:
    bias = s.says("bias")
    return s.linears(
        ("query_key_value", "attention", s.width, s.queries + 2 * s.keys, bias),
        ("dense", "heads", s.queries, s.width, bias),
        ("dense_h_to_4h", "mlp", s.width, s.intermediate, bias),
        ("dense_4h_to_h", "hidden", s.intermediate, s.width, bias),
    )


_LINEARS = {"falcon": _falcon, "starcoder2": _starcoder2}
_LAYER_NORM = frozenset({"falcon", "starcoder2"})
_HEAD_NORMS = frozenset({"qwen3", "gemma3", "gemma3_text"})
_FOUR_NORMS = frozenset({"gemma2", "gemma3", "gemma3_text"})
_HEAD_WIDTHS = {"gemma": 256, "gemma2": 256, "gemma3": 256, "gemma3_text": 256, "qwen3": 128}
"""Where the config may leave `head_dim` out, and it is not the width shared by the heads."""
_TIED = frozenset({"falcon", "gemma", "gemma2", "gemma3", "gemma3_text", "smollm3", "starcoder2"})
"""Families whose output layer is the embedding where the config does not say."""


def _kv_heads(family: str, config: Mapping[str, Any], heads: int) -> int:
    if family == "falcon":
        if config.get("new_decoder_architecture"):
            return int(config.get("num_kv_heads") or heads)
        return 1 if config.get("multi_query", True) else heads
    return int(config.get("num_key_value_heads") or heads)


def _norms(family: str, config: Mapping[str, Any]) -> int:
    if family in _FOUR_NORMS:
        return 4
    if family != "falcon" or not config.get("parallel_attn", True):
        return 2
    said = config.get("num_ln_in_parallel_attn")
    return 2 if config.get("new_decoder_architecture") and said in (None, 2) else 1


def _downloaded(repository: str, revision: str) -> Path:
    """Where the hub's own library keeps a repository that it has downloaded."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    cache = os.environ.get("HF_HUB_CACHE") or Path(home) / "hub"
    name = "models--" + repository.replace("/", "--")
    return Path(cache) / name / "snapshots" / revision
