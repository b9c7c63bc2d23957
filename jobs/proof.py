"""Did the training take? Shown on rows of its own data, before any benchmark is asked.

An adapter whose layers were not found, that was loaded as zeros, or that merging loses, leaves a
model that scores like its base: the quietest of all failures. A model that did not learn to stop
answers to the last token it may: the second quietest.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.ending import Lost, Unwanted, never, unheard
from cluster.gpus import hide_gpus
from jobs.home import written
from jobs.prompts import PromptForm, TooLong
from jobs.storage.keeping import NOWHERE, Storage
from jobs.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

    from jobs.training.rows import Row

LOOKED_AT = 256
"""Rows of the dataset among which they are looked for."""
PROMPTS = 5
"""Rows that are looked at, the first of the dataset."""
LOST_IN_MERGING = {"float32": 1e-4, "bfloat16": 3e-2}
"""Most that merging may change a logit, as a share of the largest one. bfloat16 has 8 bits, so an
operation is exact to 0.4 %, and a model is some tens of them deep."""
ROOM = 16
"""Tokens that an answer may be longer than twice the response it was taught."""


class ProofError(Exception):
    """A training that did not take; the message says what was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofOrder:
    """What is to be shown of one training. Picklable."""

    weights: Weights
    rows: Path
    """What it was trained on: a folder of Parquet files of `jobs.data.row.Row`."""
    form: PromptForm
    too_long: TooLong
    max_length: int
    out: Path
    """The proof, as JSON."""
    storage: Storage = NOWHERE
    """Where weights and rows are fetched from by a node that does not see them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was shown."""

    rows: int
    """Looked at."""
    changed: float
    """The most that the training changed a logit."""
    lost_in_merging: float | None
    """The most that merging changed one; None: there is no adapter."""
    ended: int
    """Rows whose answer it ends: as it writes it, or after the response it was taught."""


def prove(
    order: ProofOrder,
    *,
    gpus: bool,
    cuda: bool = True,
    kind: str = "",
    unwanted: Unwanted = never,
    lost: Lost = unheard,
) -> Proof:
    """Show it on the cluster this process is connected to, unless that is done, and wait.

    Args:
        order: what is to be shown.
        gpus: on one GPU; else on one core.
        cuda: whether it computes on that GPU, see `cluster.gpus.Hardware.emulated`.
        kind: of GPU, as Ray names it; empty: any.
        unwanted: whether to end it.
        lost: hears of each worker that was lost; another one begins anew.

    Raises:
        ProofError: the training did not take.
        jobs.loaded.EngineError: the model cannot be asked.
        cluster.pool.PoolError: workers were lost too often.
        cluster.ending.UnwantedError: it was ended.
    """
    if not order.storage.there(order.out):
        from cluster.pool import scatter

        given = [gpus and cuda]
        ((_, proof),) = scatter(
            Prover, given, [order], at_most=1, gpus=gpus, kind=kind, unwanted=unwanted, lost=lost
        )
        _write(order.out, proof)
        order.storage.keep(order.out)
    return read_proof(order.out)


def read_proof(path: Path) -> Proof:
    """What `prove_here` wrote."""
    return Proof(**json.loads(path.read_text()))


class Prover:
    """What shows it, on a machine that may not see the driver's files."""

    def __init__(self, cuda: bool) -> None:
        """Compute on a GPU, or on a core."""
        self._cuda = cuda

    def work(self, item: ProofOrder) -> Proof:
        """Show one training."""
        if not self._cuda:
            hide_gpus()
        rows = item.storage.here(item.rows.parent) / item.rows.name
        return _shown(replace(item, rows=rows, weights=item.storage.weights_here(item.weights)))


def prove_here(order: ProofOrder) -> None:
    """Load base and tuned model, compare them, and write the proof.

    Raises:
        ProofError: the training changes no logit, or one is not finite; merging loses the adapter;
            or no answer ends.
    """
    _write(order.out, _shown(order))


def _write(path: Path, proof: Proof) -> None:
    with written(path) as unfinished:
        unfinished.write_text(json.dumps(asdict(proof), indent=2) + "\n")


def _shown(order: ProofOrder) -> Proof:
    from jobs import loaded

    weights = order.weights
    rows = _rows(order)
    # A base of 4 bits is compared with itself: what coarseness changes is not what was learnt.
    coarse = replace(weights.base, quantization=weights.quantization)
    precision = loaded.usual_precision()
    model = loaded.load_whole(coarse, precision)
    before = _logits(model, rows)
    lost = None
    if weights.adapter is None:
        del model
        model = loaded.load_whole(weights, precision)
        after = _logits(model, rows)
    else:
        tuned = loaded.with_adapter(model, weights.adapter)
        after = _logits(tuned, rows)
        model = loaded.merged(tuned)
        lost = _lost(after, _logits(model, rows), str(model.dtype).rpartition(".")[2])
    changed = _changed(before, after)
    ended = _ended(loaded.ready(model, weights), rows, after)
    return Proof(rows=len(rows), changed=changed, lost_in_merging=lost, ended=ended)


def _rows(order: ProofOrder) -> "list[Row]":
    from itertools import islice

    from transformers import AutoTokenizer

    from jobs.data.row import stream
    from jobs.tokens import tokenise

    location, revision = order.weights.source
    tokenizer = AutoTokenizer.from_pretrained(location, revision=revision, trust_remote_code=False)
    rows = islice(stream(sorted(order.rows.glob("*.parquet"))), LOOKED_AT)
    found = tokenise(rows, tokenizer, order.max_length, order.form, order.too_long).rows
    ended = [row for row in found if row.tokens[-1] == tokenizer.eos_token_id]
    return (ended or list(found))[:PROMPTS]


def _logits(model: Any, rows: "list[Row]") -> "list[Tensor]":
    """Float32 [tokens, vocabulary] of each row, on the host."""
    import torch

    found = []
    with torch.inference_mode():
        for row in rows:
            tokens = torch.from_numpy(row.tokens).long()[None].to(model.device)
            found.append(model(input_ids=tokens, use_cache=False).logits[0].float().cpu())
    return found


def _changed(before: "list[Tensor]", after: "list[Tensor]") -> float:
    most = max(float((b - a).abs().max()) for b, a in zip(before, after, strict=True))
    if not all(bool(a.isfinite().all()) for a in after):
        raise ProofError("the trained model's logits are not finite")
    if most == 0:
        raise ProofError(
            "the training changes no logit: its weights are not in effect, or it learnt nothing"
        )
    return most


def _lost(adapter: "list[Tensor]", merged: "list[Tensor]", dtype: str) -> float:
    most = max(float((a - m).abs().max()) for a, m in zip(adapter, merged, strict=True))
    largest = max(float(a.abs().max()) for a in adapter)
    if most > LOST_IN_MERGING[dtype] * largest:
        raise ProofError(
            f"merging the adapter changes a logit by {most:.3g}, where the largest is "
            f"{largest:.3g}: more than rounding in {dtype} explains"
        )
    return most


def _ended(model: Any, rows: "list[Row]", after: "list[Tensor]") -> int:
    """How many rows the model ends."""
    ended = [
        int(logits[-2].argmax()) in model.ends or _stops(model, row)
        for row, logits in zip(rows, after, strict=True)
    ]
    taught = any(int(row.tokens[-1]) in model.ends for row in rows)
    if taught and not any(ended):
        raise ProofError(
            f"the trained model ends none of {len(rows)} answers to rows of its own data: every "
            "answer would run to max_new_tokens; it may need more steps or a higher learning_rate"
        )
    return sum(ended)


def _stops(model: Any, row: "Row") -> bool:
    """Whether its own answer to a row's prompt comes to an end."""
    from jobs import engine
    from jobs.generation import draws, rows, stops

    if row.prompt_length < 2:  # plain text has no prompt to answer
        return False
    tokens = tuple(row.tokens[: row.prompt_length].tolist())
    room = 2 * row.response_length + ROOM
    if model.positions is not None:
        room = min(room, model.positions - len(tokens))
    asked = rows.Row(rows.Prompt("proof", tokens, room), 0)
    (answer,) = engine.written(model, [asked], draws.Sampling(), stops.Stops(model, ()))
    return answer.finish == "end"
