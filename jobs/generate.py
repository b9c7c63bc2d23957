"""One run is asked one benchmark by several workers: a file of answers that is complete once it
exists."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cluster.ending import Lost, Unwanted, never, unheard
from cluster.gpus import hide_gpus
from jobs.answers import Answered, Cost, write_answers
from jobs.experiment import Asking
from jobs.parts import KeptParts, Part, cut
from jobs.prompts import Question
from jobs.storage.keeping import NOWHERE, Storage
from jobs.vllm import VllmActor
from jobs.weights import Weights

if TYPE_CHECKING:
    from jobs.engine import Loaded

SECONDS_BETWEEN_MESSAGES = 0.5
KEPT = "kept"
"""In the place of a part's name: the answers that were on disk already."""


class Mailbox(Protocol):
    """Where progress goes; a Ray queue, or anything with its `put`."""

    def put(self, message: dict[str, Any], /) -> Any:
        """Take one message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskOrder:
    """All that a worker needs to ask a model; travels between processes."""

    run_id: str
    benchmark: str
    weights: Weights
    """On this cluster's shared disk, or the hub."""
    questions: tuple[Question, ...]
    asking: Asking
    stop: tuple[str, ...]
    seed: int
    out: Path
    """Answers, one JSON object a line."""
    storage: Storage = NOWHERE
    """Where weights are fetched from by a node that does not see them."""

    @property
    def parts(self) -> list[Part]:
        """What its workers answer at a time."""
        return cut(self.questions, self.asking)

    @property
    def missing(self) -> list[Part]:
        """The parts that are not answered yet."""
        kept = KeptParts(self.out)
        return [part for part in self.parts if not kept.has(part)]


def ask(
    order: AskOrder,
    mailbox: Mailbox,
    *,
    gpus: bool,
    workers: int,
    cuda: bool = True,
    kind: str = "",
    unwanted: Unwanted = never,
    lost: Lost = unheard,
) -> None:
    """Answer an order on the cluster this process is connected to, and wait.

    Answers do not depend on the number of workers. The parts of one that dies are asked again by
    another, up to three times each. Parts that an earlier call had answered are not: a driver that
    was killed goes on where it was.

    Args:
        order: what is asked.
        mailbox: receives `{run_id, stage, benchmark, part, done, of}`, from each worker at most
            twice a second, and when a part is kept: so many answers of this part are there, of so
            many of all parts.
        gpus: one GPU per worker; else one core.
        workers: at most so many, and never more than parts.
        cuda: whether they compute on those GPUs, see `cluster.gpus.Hardware.emulated`.
        kind: of GPU, as Ray names it; empty: any.
        unwanted: whether to end it; parts that are answered stay.
        lost: hears of each worker that was lost.

    Raises:
        EngineError: the model cannot be asked.
        cluster.pool.PoolError: workers were lost too often at the same part.
        cluster.ending.UnwantedError: it was ended.
    """
    kept = KeptParts(order.out)
    if order.out.exists():
        kept.remove()  # of a call that was killed between the two
        return
    from cluster.pool import scatter

    parts, missing = order.parts, order.missing
    there = sum(len(part.questions) for part in parts if part not in missing)
    of = len(order.questions) * order.asking.completions
    Teller(order, mailbox, KEPT, of).tell(there * order.asking.completions)
    given = [replace(order, questions=()), mailbox, of]
    actor: type[VllmActor | AskActor] = VllmActor
    if order.asking.engine == "transformers":
        actor = AskActor if gpus and cuda else AskActorWithoutGpu
    crew = scatter(
        actor, given, missing, at_most=workers, gpus=gpus, kind=kind, unwanted=unwanted, lost=lost
    )
    with closing(crew):
        for place, answered in crew:
            part = missing[place]
            kept.keep(part, answered)
            # Its worker may be gone before its own last word has left it.
            Teller(order, mailbox, part.name, of).tell(len(answered.answers))
    whole = kept.together(parts, order.questions)
    write_answers(order.out, whole.answers, whole.cost)
    kept.remove()


class AskActor:
    """Answers parts of an order with one model in memory."""

    def __init__(self, order: AskOrder, mailbox: Mailbox, of: int) -> None:
        """Load nothing yet: what fails here would look like a worker that died."""
        self._order = order
        self._mailbox = mailbox
        self._of = of
        self._loaded: Loaded | None = None

    def work(self, item: Part) -> Answered:
        """The answers to a part.

        Raises:
            EngineError: the model cannot be asked.
        """
        from jobs.engine import generate, load_model  # the driver imports this module, but no torch

        order = self._order
        if self._loaded is None:
            weights = order.storage.weights_here(order.weights)
            self._loaded = load_model(weights, order.asking.precision)
        began = time.monotonic()
        teller = Teller(order, self._mailbox, item.name, self._of)
        drawn = generate(
            self._loaded, item.questions, order.asking, order.stop, order.seed, teller.tell
        )
        answers = tuple(drawn)
        cost = Cost(
            device=_device_name(self._loaded),
            seconds=time.monotonic() - began,
            prompt_tokens=_prompt_tokens(self._loaded, item.questions),
            tokens=sum(answer.tokens for answer in answers),
        )
        return Answered(answers=answers, cost=cost)


class AskActorWithoutGpu(AskActor):
    """The same on one core, whatever GPUs its machine has."""

    def work(self, item: Part) -> Answered:
        """The answers to a part."""
        hide_gpus()
        return super().work(item)


class Teller:
    """Progress, at a pace that a mailbox can bear."""

    def __init__(self, order: AskOrder, mailbox: Mailbox, part: str, of: int) -> None:
        """Tell of a part of an order that asks for `of` answers."""
        self._mailbox = mailbox
        self._same = {
            "run_id": order.run_id,
            "stage": "generate",
            "benchmark": order.benchmark,
            "part": part,
            "of": of,
        }
        self._next = 0.0

    def tell(self, done: int) -> None:
        """Send a message unless one was sent just now."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SECONDS_BETWEEN_MESSAGES
        self._mailbox.put(self._same | {"done": done})


def _prompt_tokens(loaded: "Loaded", questions: Sequence[Question]) -> int:
    from jobs.tokens import asked_tokens

    return sum(
        len(tokens)
        for question in questions
        for tokens in asked_tokens(loaded.tokenizer, [question.text], templated=question.templated)
    )


def _device_name(loaded: "Loaded") -> str:
    import torch

    if loaded.device.type == "cpu":
        return "cpu"
    return torch.cuda.get_device_name(loaded.device)
