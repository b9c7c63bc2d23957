"""What each of two workers does for tests/test_engines.py: `two_ranks.py ORDER.json`.

torchrun's environment says which it is. It writes what it found to `rank-N.json` and
`rank-N.safetensors` beside its order.
"""

import json
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from jobs.training import engines, loss, models
from jobs.training.packing import Pack, make
from jobs.training.rows import Row
from jobs.training.settings import Adapter, Settings, Spread
from jobs.training.trainee import Trainee

STEPS = (
    (((0, 2), (1,)), ((3,), (4, 5))),
    (((4,),), ((0,),)),
    (((5, 0), (2,), (1,)), ((3,), (4,), ())),
    (((3,), (1,)), ((4, 5), (2,))),
)
"""Rows of each pack of each worker of each step; () is a repeat that does not count."""
RATE = 1e-2
VOCABULARY = 64


def rows():
    """Six rows of tokens, of unlike length, the same everywhere."""
    random = np.random.default_rng(1)
    lengths = [5 + 3 * n for n in range(6)]
    return [Row(random.integers(0, VOCABULARY, n).astype(np.int32), 2) for n in lengths]


def settings(adapter=None, **changes):
    fields = {
        "learning_rate": RATE,
        "schedule": "constant",
        "warmup": 0.0,
        "decay": 0.2,
        "epochs": None,
        "steps": len(STEPS),
        "batch_size": 4,
        "packing": True,
        "micro_batch_tokens": 64,
        "max_length": 64,
        "weight_decay": 0.1,
        "clip": 1.0,
        "precision": "fp32",
        "activation_checkpointing": False,
        "compile": False,
        "held_out": 0.0,
        "evaluate_every": 50,
        "patience": None,
        "checkpoint_every": 50,
        "checkpoint_minutes": 10.0,
    }
    return Settings(**fields | changes, adapter=adapter)


def adapter(**changes):
    fields = {
        "rank": 4,
        "alpha": 8,
        "dropout": 0.0,
        "targets": "all-linear",
        "rslora": False,
        "lora_plus": 4.0,
        "dora": False,
        "quantization": None,
    }
    return Adapter(**fields | changes)


METHODS = {
    "lora": settings(adapter()),
    "dora": settings(adapter(dora=True)),
    "qlora": settings(adapter(quantization="nf4")),
    "full": settings(),
    "checkpointed full": settings(activation_checkpointing=True),
}


@dataclass(frozen=True)
class Case:
    """One method under one strategy, and where its base is."""

    base: str
    method: str
    spread: Spread

    def prepare(self, weights=None):
        chosen = METHODS[self.method]
        with engines.loading(chosen, self.spread):
            model = models.tuned(models.load_base(self.base, None, chosen), chosen, seed=0)
        if weights is not None:
            models.restore(model, weights)
        engine = engines.prepare(Trainee(model, chosen), chosen, self.spread)
        engine.module.train()
        return engine, model

    def step(self, engine, number, rank):
        """Loss and gradient norm of one step; alone, a worker takes the packs of both."""
        chosen, known = METHODS[self.method], rows()
        share = STEPS[number][rank] if self.spread.ranks > 1 else sum(STEPS[number], ())
        taken = [known[row] for packs in STEPS[number] for pack in packs for row in pack]
        total = sum(row.response_length for row in taken)
        found = torch.zeros(())
        engine.rate(RATE)
        for i, pack in enumerate(share):
            last = i == len(share) - 1
            mine = tuple(known[row] for row in pack)
            batch = make(Pack(rows=mine or (known[0],), counts=bool(mine)), chosen, engine.device)
            with engine.pause(last=last):
                part = engine.loss(batch) / total
                engine.backward(part, last=last)
            found += part.detach()
        if self.spread.ranks > 1:
            torch.distributed.all_reduce(found)
        return found.item(), engine.step()

    def run(self, rank):
        """Four steps; then the last two again, from what was saved before them."""
        engine, model = self.prepare()
        found = {"engine": engine.name, "stage": engine.stage, "sharded": engine.sharded}
        first = [self.step(engine, number, rank) for number in (0, 1)]
        weights, state = everywhere(engine.weights(), self.spread), engine.state()
        found["steps"] = first + [self.step(engine, number, rank) for number in (2, 3)]
        found["held"], found["state"] = held(model), sum(one.numel() for one in state.values())
        found["frozen"] = sorted({str(p.dtype) for p in model.parameters() if not p.requires_grad})
        final = engine.weights()
        forget()
        again, _ = self.prepare(weights)
        again.load(state)
        found["resumed"] = [self.step(again, number, rank) for number in (2, 3)]
        resumed = again.weights()
        found["same bits"] = all(final[name].equal(resumed[name]) for name in final)
        forget()
        return found, final


def everywhere(weights, spread):
    """What rank 0 has."""
    box = [weights]
    if spread.ranks > 1:
        torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def held(model):
    """Numbers of the model that are in this worker's memory, and all of them."""
    mine = sum(
        one.ds_tensor.numel() if hasattr(one, "ds_id") and not one.numel() else one.numel()
        for one in model.parameters()
    )
    return mine, sum(getattr(one, "ds_numel", one.numel()) for one in model.parameters())


def forget():
    """Accelerate keeps what it was asked first for the life of a process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)
    os.environ.pop("ACCELERATE_USE_DEEPSPEED", None)


def main():
    warnings.simplefilter("ignore")
    from safetensors.torch import save_file

    path = Path(sys.argv[1])
    order = json.loads(path.read_text())
    rank = int(os.environ["RANK"])
    torch.set_num_threads(1)
    if order.get("logits_at_once"):
        loss.LOGITS_AT_ONCE["cpu"] = order["logits_at_once"]
    torch.distributed.init_process_group("gloo")
    found, weights = {}, {}
    for name, strategy, method, offload in order["cases"]:
        spread = Spread(strategy=strategy, ranks=2, offload=offload)
        found[name], final = Case(order["base"], method, spread).run(rank)
        weights |= {f"{name}/{place}": one for place, one in final.items()}
    save_file(weights, path.parent / f"rank-{rank}.safetensors")
    (path.parent / f"rank-{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
