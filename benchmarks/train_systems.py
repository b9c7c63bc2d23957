"""The trainings that `train.py` measures: the rows they get, and how each is started."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from systems import measured_cores

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jobs.training.schedule import order_of

ROOT = Path(__file__).resolve().parent.parent
_DRIVERS = Path(__file__).resolve().parent / "peers"
BATCH, SEED, VOCABULARY = 8, 0, 4096
"""As in `peers/training.py`, which takes a second to import."""
OURS = "codeladder"
PRECISIONS = ("bf16", "fp32")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large everything is."""

    rows: int = 128
    width: int = 512
    layers: int = 8
    round_steps: int = 4
    """Steps of a round, of 8 rows; a system whose steps are packs takes a quarter more."""


FULL = Scale()
TINY = Scale(rows=32, width=64, layers=2, round_steps=1)


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """One row of the table."""

    name: str
    title: str
    script: str
    family: str = "llama"
    precision: str
    more: tuple[str, ...] = ()

    @property
    def packs(self) -> bool:
        """Whether one of its steps takes a pack of 1024 tokens instead of 8 rows."""
        return "--packed" in self.more

    def steps(self, scale: Scale) -> int:
        """Of a round."""
        return scale.round_steps + scale.round_steps // 4 * self.packs

    def command(self, rows: Path, scale: Scale) -> list[str]:
        """What starts it."""
        return [
            *(sys.executable, str(_DRIVERS / self.script), "--rows", str(rows)),
            *("--base", self.family, "--width", str(scale.width), "--layers", str(scale.layers)),
            *("--precision", self.precision, *self.more),
        ]


def trainers(family: str, precision: str, ours: tuple[str, ...] = ()) -> list[Trainer]:
    """Ours and the peers, for one family of models."""
    kinds = [
        (OURS, "Codeladder, packed", "train_codeladder.py", ours),
        ("trl_default", "trl SFTTrainer, its defaults", "train_trl.py", ()),
        ("trl_packed", "trl SFTTrainer, packing", "train_trl.py", ("--packed",)),
        ("transformers", "transformers Trainer, padded", "train_transformers.py", ()),
    ]
    return [
        Trainer(
            name=name, title=title, script=script, family=family, precision=precision, more=more
        )
        for name, title, script, more in kinds
    ]


def environment(folder: Path) -> Mapping[str, str]:
    """One thread, no network, and every cache in a folder that is thrown away."""
    caches = ("TORCHINDUCTOR_CACHE_DIR", "HF_HOME", "XDG_CACHE_HOME")
    return {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        **{name: str(folder / name.lower()) for name in caches},
    }


def cores() -> set[int]:
    """The one core that everything measured is pinned to."""
    return {measured_cores()[-1]}


def write_rows(path: Path, scale: Scale) -> list[int]:
    """Rows of tokens, with prompts without loss, and the order in which our loop takes them.

    Lengths are lognormal, as those of instructions and answers about are. The tokens are drawn by
    Zipf's law, so that there is something to learn.

    Returns:
        The lengths.
    """
    random = np.random.default_rng(SEED)
    drawn = random.lognormal(4.72, 0.85, scale.rows).astype(int)
    lengths = np.clip(drawn, 8, 760)
    tokens = [
        (2 + np.minimum(random.zipf(1.3, length), VOCABULARY - 3)).tolist() for length in lengths
    ]
    prompts = [max(1, int(length * random.uniform(0.2, 0.6))) for length in lengths]
    order = order_of(scale.rows, batch_size=BATCH, seed=SEED, steps=None, epochs=1)
    places = [place for step in range(order.steps) for place in order.batch(step)]
    path.write_text(json.dumps({"tokens": tokens, "prompts": prompts, "order": places}))
    return [int(length) for length in lengths]


def faster_precision() -> str:
    """In which precision this machine multiplies matrices faster, on one thread."""
    import torch

    torch.set_num_threads(1)
    taken = {}
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        one, other = torch.ones(1024, 512, dtype=dtype), torch.ones(512, 1024, dtype=dtype)
        one @ other
        started = time.process_time()
        for _ in range(20):
            one @ other
        taken[name] = time.process_time() - started
    return min(taken, key=lambda name: taken[name])
