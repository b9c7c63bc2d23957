"""A model behind a server is asked a benchmark: many requests at once, each answer kept.

Each answer is a request of its own with a seed of its own, because servers differ in what several
answers to one request are; those that matter read a prompt they have just read from their cache.
The same seed gives the same text only as far as the server promises it.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.ending import LOOK_SECONDS, Unwanted, UnwantedError, never
from eval_sandbox.problem import Problem
from jobs.answers import Answer, EngineError, Finish, silence, write_answers
from jobs.experiment import Asking, Benchmark, Run
from jobs.prompt_contracts import Prompt
from jobs.prompts import question, said_to
from jobs.remote.client import TRIES, Client, TooLongError
from jobs.remote.kept import Kept, KeptAnswers, remove_kept
from jobs.remote.server import Server

MOST_STOPS = 4
"""That OpenAI's own interface takes."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedQuestion:
    """A problem as a server is asked it."""

    task_id: str
    whole: bool
    """True: the answer is a whole program. False: it continues the problem's prompt."""
    route: str
    """`completions`, or `chat/completions`."""
    body: dict[str, Any]
    """The part of the request that differs between problems."""
    room: int | None = None
    """Tokens that the model has left for the answer; None: the server knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedOrder:
    """All that it takes to ask a server."""

    server: Server
    questions: tuple[ServedQuestion, ...]
    asking: Asking
    stop: tuple[str, ...]
    seed: int
    out: Path
    """Answers, one JSON object a line."""
    most_stops: int = MOST_STOPS
    """Stop strings that are sent; the others are cut on our side, as are these."""
    tries: int = TRIES
    """Of each request."""

    @property
    def wanted(self) -> list[tuple[ServedQuestion, int]]:
        """Every answer: its question, and its position."""
        return [
            (q, position) for q in self.questions for position in range(self.asking.completions)
        ]


def served_order(run: Run, benchmark: Benchmark, out: Path) -> ServedOrder:
    """What to ask for a run whose model is behind a server."""
    assert run.model.server is not None
    assert benchmark.prompt is not None
    prompt = benchmark.prompt
    return ServedOrder(
        server=run.model.server,
        questions=tuple(served_question(problem, prompt) for problem in benchmark.problems),
        asking=benchmark.asking,
        stop=benchmark.stop,
        seed=run.seed,
        out=out,
    )


def served_question(problem: Problem, prompt: Prompt) -> ServedQuestion:
    """A problem under a prompt contract.

    A chat has the server's own template around what is said; every other contract is text to go on
    with. A chat whose answer is begun is refused when an experiment is loaded: nobody can begin an
    answer in a server's template.
    """
    if prompt.contract.chat:
        message = {"role": "user", "content": said_to(prompt, problem)}
        return ServedQuestion(
            task_id=problem.task_id,
            whole=not (prompt.contract.continues and problem.prompt),
            route="chat/completions",
            body={"messages": [message]},
        )
    asked = question(problem, prompt)
    return ServedQuestion(
        task_id=problem.task_id,
        whole=asked.whole,
        route="completions",
        body={"prompt": asked.text},
    )


def ask_server(
    order: ServedOrder, progress: Progress = lambda done, of: None, unwanted: Unwanted = never
) -> None:
    """Answer an order unless that is done, and wait; answers that are kept are not asked for again.

    Args:
        order: what is asked.
        progress: is told how many answers are there, of how many.
        unwanted: whether to end it; answers that are there stay.

    Raises:
        EngineError: the server refused, or failed too often. Calling again goes on.
        UnwantedError: it was ended, what was just being asked with it.
    """
    if order.out.exists():
        remove_kept(order.out)  # of a call that was killed between the two
        return
    with KeptAnswers(order.out) as kept:
        asyncio.run(_ask_missing(order, kept, progress, unwanted))
        keys = [(asked.task_id, position) for asked, position in order.wanted]
        whole = kept.together(keys, order.server.url)
    write_answers(order.out, whole.answers, whole.cost)
    kept.remove()


async def _ask_missing(
    order: ServedOrder, kept: KeptAnswers, progress: Progress, unwanted: Unwanted
) -> None:
    work = _Asking(order, kept, progress)
    try:
        async with Client(order.server, order.tries) as client, asyncio.TaskGroup() as group:
            heeding = group.create_task(_heed(unwanted))
            count = order.server.concurrency
            await asyncio.wait([group.create_task(work.go_on(client)) for _ in range(count)])
            heeding.cancel()
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None


async def _heed(unwanted: Unwanted) -> None:
    while not unwanted():
        await asyncio.sleep(LOOK_SECONDS)
    raise UnwantedError


class _Asking:
    """What is left to ask, shared by all that ask."""

    def __init__(self, order: ServedOrder, kept: KeptAnswers, progress: Progress) -> None:
        self._order = order
        self._kept = kept
        self._progress = progress
        self._of = len(order.wanted)
        self._left = self._missing()
        self._since = time.monotonic()
        progress(len(kept.found), self._of)

    async def go_on(self, client: Client) -> None:
        """Ask until nothing is left."""
        for asked, position in self._left:
            answer, prompt_tokens = await self._answer(client, asked, position)
            now = time.monotonic()
            seconds, self._since = now - self._since, now
            self._kept.add(Kept(answer=answer, prompt_tokens=prompt_tokens, seconds=seconds))
            self._progress(len(self._kept.found), self._of)

    def _missing(self) -> Iterator[tuple[ServedQuestion, int]]:
        there = set(self._kept.found)
        for asked, position in self._order.wanted:
            if (asked.task_id, position) not in there:
                yield asked, position

    async def _answer(
        self, client: Client, asked: ServedQuestion, position: int
    ) -> tuple[Answer, int]:
        """An answer, and the tokens of its prompt.

        A server that cannot read so long a prompt and answer is asked for an answer half as long,
        until there is none: the model has no room, which is no failure of the server.
        """
        room = self._order.asking.max_new_tokens
        if asked.room is not None:
            room = min(room, asked.room)
        while room >= 1:
            try:
                said = await client.ask(asked.route, self._body(asked, position, room))
            except TooLongError:
                room //= 2
            else:
                return self._read(client, said, asked, position)
        return silence(asked.task_id, position, whole=asked.whole), 0

    def _body(self, asked: ServedQuestion, position: int, room: int) -> dict[str, Any]:
        order, asking = self._order, self._order.asking
        return asked.body | {
            "model": order.server.model,
            "max_tokens": room,
            "temperature": asking.temperature,
            "top_p": asking.top_p,
            "seed": seed_of(order.seed, asked.task_id, position),
            **({"top_k": asking.top_k} if asking.top_k else {}),
            **({"stop": _sent(order)} if order.stop else {}),
        }

    def _read(
        self, client: Client, said: Any, asked: ServedQuestion, position: int
    ) -> tuple[Answer, int]:
        """An answer, and the tokens of its prompt."""
        try:
            choice = said["choices"][0]
            text = choice["message"]["content"] if "message" in choice else choice["text"]
        except (KeyError, IndexError, TypeError):
            raise EngineError(
                f"{self._order.server.url}/{asked.route} answered with something other than a "
                f"completion: {client.shown(json.dumps(said))}"
            ) from None
        text = (text or "").encode(errors="replace").decode()
        end = _end(text, self._order.stop)
        usage = said.get("usage") or {}
        answer = Answer(
            task_id=asked.task_id,
            position=position,
            text=text[:end],
            whole=asked.whole,
            tokens=int(usage.get("completion_tokens") or 0),
            finish="stop" if end is not None else _finish(choice),
        )
        return answer, int(usage.get("prompt_tokens") or 0)


def seed_of(seed: int, task_id: str, position: int) -> int:
    """The seed of one answer, in [0, 2^31): some servers take no larger one."""
    named = json.dumps([seed, task_id, position]).encode()
    return int.from_bytes(hashlib.sha256(named).digest()[:4], "big") >> 1


def _sent(order: ServedOrder) -> list[str]:
    """The stop strings that a server is told, those first that end an answer at a new line.

    Others, such as a closing fence in its last line, come later in most answers.
    """
    return sorted(order.stop, key=lambda string: not string.startswith("\n"))[: order.most_stops]


def _end(text: str, stop: tuple[str, ...]) -> int | None:
    """Where an answer ends before the first stop string; None: there is none in it."""
    found = [at for string in stop if (at := text.find(string)) >= 0]
    return min(found) if found else None


def _finish(choice: dict[str, Any]) -> Finish:
    """Our word for why a server ended an answer.

    It leaves out the stop string that it found; vLLM and SGLang name it, others say only `stop`,
    which may also be the model's own end.
    """
    if choice.get("finish_reason") == "length":
        return "length"
    named = choice.get("stop_reason", choice.get("matched_stop"))
    return "stop" if isinstance(named, str) else "end"
