"""Where a user's own tests are put to an answer: one sandbox, one answer at a time, a short queue.

The server's own process runs nothing of an answer; see docs/sandbox.md.
"""

import asyncio
import re
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eval_sandbox.contract import Judging
from eval_sandbox.custom import custom_problem
from eval_sandbox.judge import Worker
from eval_sandbox.mistakes import InputError, Mistakes
from eval_sandbox.problem import Completion, Problem
from eval_sandbox.records import Fields
from eval_sandbox.verdict import Verdict
from jobs.desk import BusyError

MOST_BYTES = 1 << 20
"""Of a request's body."""
MOST_CHARACTERS = 100_000
MOST_TESTS = 1_000
WAITING = 4
RECYCLE_AFTER = 64
"""Answers judged before the worker is replaced: it remembers every problem, and each is new."""
_DEFINED = re.compile(r"\s*(?:async\s+)?def\s+(\w+)")


class TooLargeError(HTTPException):
    """A body is longer than is taken; of this kind because FastAPI words any other anew."""

    def __init__(self, message: str) -> None:
        super().__init__(413, message)


class JudgeAsked(BaseModel):
    """Body of POST /judge; `completion` or `program` is given."""

    model_config = ConfigDict(extra="forbid")

    completion: str | None = Field(default=None, max_length=MOST_CHARACTERS)
    """A model's answer: its code is looked for, and may continue `signature`."""
    program: str | None = Field(default=None, max_length=MOST_CHARACTERS)
    """A whole program, run as it is."""
    signature: str = Field(default="", max_length=MOST_CHARACTERS)
    entry_point: str = Field(default="", max_length=200)
    """What tests with `args` call; empty: the function of the signature."""
    tests: list[Any] = Field(min_length=1, max_length=MOST_TESTS)
    """In the custom form: see `eval_sandbox.custom`."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.completion is None) == (self.program is None):
            raise ValueError("give either completion or program")
        return self

    @property
    def judging(self) -> Judging:
        """Chat answers are taken apart, programs are not; the limits are the judge's own."""
        return Judging(extract="chat" if self.program is None else "none")

    @property
    def answer(self) -> Completion:
        """What is judged."""
        if self.program is not None:
            return Completion(task_id="yours", text=self.program, whole=True)
        return Completion(task_id="yours", text=self.completion or "", whole=not self.signature)

    def problem(self) -> Problem:
        """The tests as a problem.

        Raises:
            InputError: with all that is wrong with them.
        """
        found = _DEFINED.match(self.signature)
        record = {
            "task_id": "yours",
            "instruction": "judged as it is",
            "signature": self.signature,
            "entry_point": self.entry_point or (found[1] if found else ""),
            "tests": self.tests,
        }
        mistakes = Mistakes(Path("test cases"))
        try:
            problem = custom_problem(Fields((None, record), mistakes))
        except (RecursionError, MemoryError):  # the compiler's, for a test no person writes
            raise InputError("test cases: one is nested too deeply") from None
        mistakes.raise_if_any()
        return problem


async def read_asked(request: Request) -> JudgeAsked:
    """The body of a request, never more of it in memory than is allowed.

    Raises:
        TooLargeError: it is longer.
        RequestValidationError: it is no JSON, does not say that it is, or has another form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # which no form of a web page can send
        wrong = {"type": "content_type", "loc": ("body",), "msg": "send it as application/json"}
        raise RequestValidationError([wrong])
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise TooLargeError(f"a body of at most {MOST_BYTES >> 10} KiB is taken")
    try:
        return JudgeAsked.model_validate_json(bytes(body))
    except ValidationError as error:
        told = error.errors(include_url=False, include_context=False, include_input=False)
        parts = [{**part, "loc": ("body", *part["loc"])} for part in told]
        raise RequestValidationError(parts) from None


class JudgeDesk:
    """Judges in one thread, which owns the sandbox; the sandbox starts with the first answer."""

    def __init__(self, waiting: int = WAITING) -> None:
        """Let at most `waiting` answers wait while one is judged."""
        self.most = 1 + waiting
        self._futures: set[Future[Verdict]] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judge")
        self._worker: Worker | None = None
        self._judged = 0

    async def judge(self, asked: JudgeAsked) -> Verdict:
        """The verdict on one answer.

        Raises:
            InputError: the tests are wrong.
            BusyError: too many answers wait.
            SandboxUnavailable: this host cannot isolate anything.
        """
        problem = await asyncio.to_thread(asked.problem)  # it compiles the tests
        return await self.judge_answer(problem, asked.answer, asked.judging)

    async def judge_answer(self, problem: Problem, answer: Completion, judging: Judging) -> Verdict:
        """The verdict on an answer to a problem that is known to be right.

        Raises:
            BusyError: too many answers wait.
            SandboxUnavailable: this host cannot isolate anything.
        """
        if len(self._futures) >= self.most:
            raise BusyError(f"{self.most - 1} answers wait already to be judged")
        future = self._thread.submit(self._judge, problem, answer, judging)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let go of all that wait, and end the sandbox after the answer in progress."""
        for future in tuple(self._futures):
            future.cancel()
        self._thread.submit(self._end)
        self._thread.shutdown(wait=False)

    def _judge(self, problem: Problem, answer: Completion, judging: Judging) -> Verdict:
        if self._judged % RECYCLE_AFTER == 0:
            self._end()
        self._judged += 1
        self._worker = self._worker or Worker()
        return self._worker.judge(problem, answer, judging)

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None
