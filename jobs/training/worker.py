"""What every worker of a training does, whoever started it."""

import json
import logging
import os
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from jobs.training import ending, engines, models
from jobs.training.checkpoints import Checkpoints
from jobs.training.fence import Fence
from jobs.training.files import fingerprint
from jobs.training.loop import Loop, Teller, Training, numbered
from jobs.training.meter import Meter
from jobs.training.order import TrainingError, TrainOrder
from jobs.training.peers import Peers, peers
from jobs.training.rows import Row
from jobs.training.schedule import Many, split
from jobs.training.steps import FACTS, STEPS, Facts, Step, write_steps
from jobs.training.trainee import Trainee
from jobs.training.whole import settle

if TYPE_CHECKING:
    from jobs.tokens import Tokenised

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "deepspeed", "bitsandbytes", "ray")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Numbers of a model's parameters."""

    trained: int
    all: int
    """Without adapters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What is learnt, as tokens."""

    found: "Tokenised"
    trained: Many
    held_out: Many
    tokenizer: Any


def train_worker(
    order: TrainOrder,
    teller: Teller,
    saved: Callable[[Path], None] | None = None,
    fence: Fence | None = None,
) -> None:
    """Train, unless it is done already; `order.checkpoint` is there when any worker returns.

    Workers meet in torch's process group, or in one of their own where the environment names ranks
    (RANK, WORLD_SIZE, as torchrun sets them). Whatever ends one worker in a way that another
    attempt would not change, ends all of them with the same error.

    Args:
        order: the same on all workers.
        teller: is told of steps by the first worker.
        saved: is told of each checkpoint to go on from, by the first worker.
        fence: which attempt this is; None: there can be no other.

    Raises:
        TrainingError: what another attempt would not change.
        RuntimeError: this worker could not go on, and others could; the next start has the reason.
    """
    _quiet()
    mates = peers()
    done, reason = mates.told((order.checkpoint.exists(), ending.left_by(order)))[0]
    if done:
        return
    if reason is not None:  # told to all
        raise TrainingError(reason)
    with ending.as_one(order, mates):
        _train(order, teller, mates, saved, fence or Fence(order.folder))


def _train(
    order: TrainOrder,
    teller: Teller,
    mates: Peers,
    saved: Callable[[Path], None] | None,
    fence: Fence,
) -> None:
    data = mates.together(lambda: _read(order, mates))
    checkpoints = Checkpoints(
        folder=order.attempts,
        identity=order.identity(len(data.found.rows)),
        spread=order.spread,
        peers=mates,
        saved=saved,
        fence=fence,
    )
    checkpoints.open()
    _expect_one_base(order, mates)
    model = _loaded(order, mates)
    sizes = _sizes(model)
    trainee, engine, steps = _prepared(order, model, checkpoints)
    with _meter(engine, sizes, order) as meter:
        loop = Loop(
            training=_training(order, data),
            engine=engine,
            peers=mates,
            teller=teller,
            meter=meter,
            checkpoints=checkpoints,
        )
        loop.run(steps)
    best = loop.best_step
    weights = engine.weights()
    if best is not None and best != steps[-1].step:
        weights = mates.together(lambda: checkpoints.weights(best) if mates.first else {})
    if mates.first:
        known = {
            "engine": engine.name,
            "zero_stage": engine.stage,
            "attention": trainee.attention,
            "best_step": best,
            "trainable_parameters": sizes.trained,
            "resumed": checkpoints.resumed,
        }
        facts = _facts(order, steps, data, known)

    def leave() -> None:
        if mates.first:
            fence.require()
            _finish(order, model, weights, data.tokenizer, steps, facts)

    mates.together(leave)


def _read(order: TrainOrder, mates: Peers) -> Data:
    """Rows as tokens, some of them set aside, and the tokenizer."""
    from transformers import AutoTokenizer

    from jobs.data.row import stream
    from jobs.prompts import PromptError
    from jobs.tokens import tokenise

    settings, named = order.settings, f"run {order.run_id}"
    if mates.ranks != order.spread.ranks:
        raise TrainingError(
            f"{named} is ordered for {order.spread.ranks} workers, but {mates.ranks} run: "
            f"torchrun --nproc-per-node {order.spread.ranks}, or change `spread` in the order"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            order.location, revision=order.revision or "main", trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise TrainingError(f"{named}: {order.location} has no tokenizer: {error}") from None
    files = _files(order)
    if not files:
        raise TrainingError(
            f"{named}: there are no rows in {order.rows} on {socket.gethostname()}; all nodes must "
            "see the folder of prepared datasets (CODELADDER_HOME)"
        )
    try:
        found = tokenise(stream(files), tokenizer, settings.max_length, order.form, order.too_long)
        if not found.rows:
            raise ValueError(
                f"none of the {found.dropped} rows in {order.rows} has at most "
                f"{settings.max_length} tokens (max_length)"
            )
        trained, held_out = split(found.rows, settings.held_out)
    except (PromptError, ValueError) as error:
        raise TrainingError(f"{named}: {error}") from None
    return Data(found=found, trained=trained, held_out=held_out, tokenizer=tokenizer)


def _expect_one_base(order: TrainOrder, mates: Peers) -> None:
    """Where weights are spread while they are loaded, workers wait for each other. So whether each
    can load them, and whether they are the same, is found out before.

    Raises:
        TrainingError: one cannot, or has others; on all workers.
    """
    if mates.ranks == 1:
        return
    host = socket.gethostname()

    def look() -> tuple[str, str]:
        try:
            return fingerprint(order.location, order.revision), host
        except models.ModelError as error:
            raise models.ModelError(f"worker {mates.rank} on {host}: {error}") from None

    looked = mates.told(mates.together(look))
    for rank, (found, place) in enumerate(looked):
        if found != looked[0][0]:
            raise models.ModelError(
                f"worker {rank} on {place} would load another model than the first worker on "
                f"{looked[0][1]}: configurations or tensors differ; give all nodes the same files"
            )


def _loaded(order: TrainOrder, mates: Peers) -> Any:
    """The model, or an end for all workers.

    Where ZeRO-3 spreads weights while they are read, the others wait in a collective for one that
    cannot read them: it fails alone, and at once. See `jobs.training.ending`.
    """
    if engines.spreads(order.settings, order.spread):
        return _model(order)
    return mates.together(lambda: _model(order))


def _model(order: TrainOrder) -> Any:
    device = None
    if torch.cuda.is_available() and order.spread.stage != 3:  # which places weights itself
        device = torch.device("cuda", torch.cuda.current_device())
    with engines.loading(order.settings, order.spread):
        base = models.load_base(order.location, order.revision, order.settings, device)
        return models.tuned(base, order.settings, order.seed)


def _prepared(
    order: TrainOrder, model: Any, checkpoints: Checkpoints
) -> tuple[Trainee, engines.Engine, list[Step]]:
    """The engine where the last checkpoint left it, and the steps before."""
    before = checkpoints.latest()
    if before is not None:
        models.restore(model, before.weights)  # ZeRO copies weights when it is prepared
    trainee = checkpoints.peers.together(lambda: Trainee(model, order.settings))
    engine = engines.prepare(trainee, order.settings, order.spread)
    if before is None:
        return trainee, engine, []
    checkpoints.peers.together(lambda: engine.load(before.optimizer))
    return trainee, engine, list(before.steps)


def _training(order: TrainOrder, data: Data) -> Training:
    return Training(
        run_id=order.run_id,
        settings=order.settings,
        seed=order.seed,
        trained=data.trained,
        held_out=data.held_out,
        named=lambda rows: _named(order, rows),
    )


def _sizes(model: Any) -> Sizes:
    """Of a model that is not prepared yet."""
    if hasattr(model, "peft_config"):
        trained, everything = model.get_nb_trainable_parameters()
        return Sizes(trained=trained, all=everything - trained)
    trained = sum(getattr(one, "ds_numel", one.numel()) for one in model.parameters())
    return Sizes(trained=trained, all=trained)


def _meter(engine: engines.Engine, sizes: Sizes, order: TrainOrder) -> Meter:
    settings = order.settings
    return Meter(engine.device, sizes.all, settings.weights, settings.precision)


def _named(order: TrainOrder, rows: Sequence[Row]) -> list[str]:
    """Rows by source and place, as the dataset has them."""
    from jobs.data.row import stream

    origins = {row.origin for row in rows}
    places = {
        number: f"{row.source} {row.place}"
        for number, row in enumerate(stream(_files(order)))
        if number in origins
    }
    named = zip(dict.fromkeys(row.origin for row in rows), numbered(rows), strict=True)
    return [f"{places[origin]} ({name})" for origin, name in named]


def _files(order: TrainOrder) -> list[Path]:
    return sorted(order.rows.glob("*.parquet"))


def _facts(order: TrainOrder, steps: Sequence[Step], data: Data, known: Mapping[str, Any]) -> Facts:
    seconds = sum(step.seconds for step in steps)
    joules = [step.joules for step in steps if step.joules is not None]
    memory = [step.memory for step in steps if step.memory is not None]
    gpus = torch.cuda.is_available()
    return Facts(
        weights=order.settings.weights,
        offload=order.spread.offload,
        ranks=order.spread.ranks,
        tokens=sum(step.tokens for step in steps),
        seconds=seconds,
        gpu_hours=seconds * order.spread.ranks / 3600 if gpus else 0.0,
        kilowatt_hours=sum(joules) / 3.6e6 if joules else None,
        memory_gib=max(memory) / 2**30 if memory else None,
        rows=len(data.trained),
        rows_held_out=len(data.held_out),
        rows_left_out=data.found.dropped,
        rows_cut=data.found.cut,
        windows=data.found.windows,
        device=torch.cuda.get_device_name() if gpus else "cpu",
        versions=dict(_versions()),
        **known,
    )


def _versions() -> list[tuple[str, str]]:
    found = []
    for name in LIBRARIES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found


def _finish(
    order: TrainOrder,
    model: Any,
    weights: "dict[str, torch.Tensor]",
    tokenizer: Any,
    steps: Sequence[Step],
    facts: Facts,
) -> None:
    """Write what the training leaves behind, all at once for those who look."""
    from safetensors import SafetensorError

    for left in order.folder.glob("checkpoint.*"):
        shutil.rmtree(left, ignore_errors=True)
    draft = order.folder / f"checkpoint.{os.getpid()}"
    try:
        models.save(model, weights, draft, tokenizer)
        write_steps(steps, draft / STEPS)
        (draft / FACTS).write_text(json.dumps(asdict(facts), indent=2) + "\n")
        for path in (*draft.iterdir(), draft):
            settle(path)
        draft.rename(order.checkpoint)
        settle(order.folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise TrainingError(
            f"run {order.run_id}: its weights could not be written to {order.folder}: {error}. "
            "Make room and run again: it goes on from its last checkpoint"
        ) from None


def _quiet() -> None:
    """Nothing a worker prints is seen, and some of it would be written for each step."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
