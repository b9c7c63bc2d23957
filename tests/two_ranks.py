"""What each of two processes does for tests/test_engines.py: `two_ranks.py ORDER.json`.

torchrun's environment says who they are. Each writes what it found to `rank-N.json` and
`rank-N.safetensors` beside its order.
"""

import json
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.nn.functional import cross_entropy

from jobs.training import engines, models
from jobs.training.settings import Adapter, Settings, Spread

STEPS = (((0, 2), (1, 3)), ((4,),), ((5, 0), (1,), (2, 3)), ((3,), (4, 5)))
"""Rows of each micro batch of each step; worker 0 takes the first row of each, worker 1 the rest,
or the first again, without counting it."""
RATE = 1e-2


class Trainee(torch.nn.Module):
    """The least that an engine can be put around."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens, targets, positions, starts, longest):
        logits = self.model(input_ids=tokens, use_cache=False).logits
        return cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum")


def rows():
    """Six rows of tokens, of unlike length, the same everywhere."""
    random = torch.Generator().manual_seed(1)
    return [torch.randint(0, 64, (5 + 3 * n,), generator=random) for n in range(6)]


def settings(**changes):
    adapter = changes.pop("adapter", None)
    fields = dict(
        learning_rate=RATE,
        schedule="constant",
        warmup=0.0,
        decay=0.2,
        epochs=None,
        steps=4,
        batch_size=4,
        packing=False,
        micro_batch_tokens=64,
        max_length=64,
        weight_decay=0.1,
        clip=1.0,
        precision="fp32",
        activation_checkpointing=False,
        compile=False,
        held_out=0.0,
        evaluate_every=50,
        patience=None,
        checkpoint_every=50,
        checkpoint_minutes=10.0,
    )
    return Settings(**fields | changes, adapter=adapter)


def adapter(**changes):
    fields = dict(
        rank=4,
        alpha=8,
        dropout=0.0,
        targets="all-linear",
        rslora=False,
        lora_plus=4.0,
        dora=False,
        quantization=None,
    )
    return Adapter(**fields | changes)


METHODS = {"lora": settings(adapter=adapter()), "full": settings()}


def micro_batch(row, *, counts=True):
    return SimpleNamespace(
        tokens=row[None, :-1],
        targets=row[None, 1:],
        positions=None,
        starts=None,
        longest=len(row) - 1,
        counts=counts,
    )


@dataclass
class Case:
    base: Path
    method: str
    spread: Spread

    def prepare(self, weights=None):
        chosen = METHODS[self.method]
        with engines.loading(chosen, self.spread):
            base = models.load_base(str(self.base), None, chosen)
            model = models.tuned(base, chosen, seed=0)
        if weights is not None:
            models.restore(model, weights)
        engine = engines.prepare(Trainee(model), chosen, self.spread)
        engine.module.train()
        return engine, model

    def step(self, engine, number, rank):
        batches = STEPS[number]
        total = sum(len(rows()[row]) - 1 for batch in batches for row in batch)
        engine.rate(RATE)
        sum_ = torch.zeros(())
        for i, batch in enumerate(batches):
            mine = batch[rank::2]
            last = i == len(batches) - 1
            with engine.pause(last=last):
                part = engine.loss(micro_batch(rows()[(mine or batch)[0]], counts=bool(mine)))
                engine.backward(part / total, last=last)
            sum_ += part.detach() / total
        torch.distributed.all_reduce(sum_)
        return sum_.item(), engine.step()

    def run(self, rank):
        engine, model = self.prepare()
        found = {"engine": engine.name, "stage": engine.stage, "sharded": engine.sharded}
        first = [self.step(engine, number, rank) for number in (0, 1)]
        weights, state = everywhere(engine.weights(), rank), engine.state()
        rest = [self.step(engine, number, rank) for number in (2, 3)]
        found["steps"], found["held"] = first + rest, held(model)
        final = engine.weights()
        forget()
        again, _ = self.prepare(weights)
        again.load(state)
        found["resumed"] = [self.step(again, number, rank) for number in (2, 3)]
        resumed = again.weights()
        found["same bits"] = all(final[name].equal(resumed[name]) for name in final)
        forget()
        return found, final


def everywhere(weights, rank):
    """What rank 0 has."""
    box = [weights]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def held(model):
    """Elements of the model that are in this process's memory, and all of them."""
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
    path = Path(sys.argv[1])
    order = json.loads(path.read_text())
    rank = int(os.environ["RANK"])
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    from safetensors.torch import save_file

    found, weights = {}, {}
    for strategy, method in order["cases"]:
        case = Case(Path(order["base"]), method, Spread(strategy=strategy, ranks=2))
        found[f"{strategy} {method}"], final = case.run(rank)
        weights |= {f"{strategy} {method} {name}": one for name, one in final.items()}
    save_file(weights, path.parent / f"rank-{rank}.safetensors")
    (path.parent / f"rank-{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
