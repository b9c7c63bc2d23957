"""The routes that ask models: OpenAI's, and the prompts that models were tuned with."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from jobs.answers import EngineError
from jobs.desk import Job
from jobs.prompts import PromptError, alpaca
from jobs.serving.order import Order
from jobs.serving.service import Service
from jobs.shelf import Servable, find, servable
from jobs.wire import Asked, ChatAsked, CompletionAsked, Form, PromptAsked, error, event, usage

LOGGER = logging.getLogger(__name__)
STOP = ("\n### ",)
"""Where an answer to an Alpaca prompt ends, unless the asker says otherwise."""
STOP_AFTER_SIGNATURE = ("\ndef ", "\nclass ", "\nprint(", "\nif __name__", *STOP)


def router(service: Service) -> APIRouter:
    """GET /health, /v1/models; POST /v1/prompts, /v1/completions, /v1/chat/completions."""
    routes = _Routes(service)
    made = APIRouter()
    made.add_api_route("/health", routes.health, methods=["GET"])
    made.add_api_route("/v1/models", routes.models, methods=["GET"])
    made.add_api_route("/v1/models/{name:path}", routes.model, methods=["GET"])
    made.add_api_route("/v1/prompts", routes.prompts, methods=["POST"])
    for path, route in (
        ("/v1/completions", routes.complete),
        ("/v1/chat/completions", routes.chat),
    ):
        made.add_api_route(path, route, methods=["POST"], response_model=None)
    return made


@dataclass(frozen=True, slots=True)
class _Routes:
    service: Service

    async def health(self) -> dict[str, Any]:
        """Whether the server lives, and how many answers are written or wait."""
        desk = self.service.desk
        return {"status": "ok", "pending": desk.pending, "most": desk.most}

    async def models(self) -> dict[str, Any]:
        """The models that can be asked now."""
        known = await self._known()
        return {"object": "list", "data": await asyncio.to_thread(self._described, known)}

    async def model(self, name: str) -> dict[str, Any]:
        """One of them, by id or label."""
        found = find(await self._known(), name)
        (described,) = await asyncio.to_thread(self._described, [found])
        return described

    async def prompts(self, asked: PromptAsked) -> dict[str, Any]:
        """The prompt that the models were tuned with, and where its answers end."""
        text = alpaca(asked.instruction, asked.input)
        if not asked.signature:
            return {"prompt": text, "stop": STOP}
        return {"prompt": text + asked.signature.rstrip("\n"), "stop": STOP_AFTER_SIGNATURE}

    async def complete(self, asked: CompletionAsked, request: Request) -> Response:
        """Continue a text."""
        model = find(await self._known(), asked.model)
        return await self._answer(asked, _order(model, asked, (), text=asked.prompt), request)

    async def chat(self, asked: ChatAsked, request: Request) -> Response:
        """Answer the user's last message, in the form that the model was tuned in."""
        model = find(await self._known(), asked.model)
        begun = asked.signature.rstrip("\n")
        ends = STOP_AFTER_SIGNATURE if begun else ()
        if model.form == "chat":
            order = _order(model, asked, ends, turns=asked.turns, begun=begun)
        else:
            order = _order(model, asked, ends or STOP, text=alpaca(asked.instruction) + begun)
        return await self._answer(asked, order, request)

    async def _known(self) -> list[Servable]:
        return await asyncio.to_thread(servable, self.service.ledger, self.service.home)

    def _described(self, models: Sequence[Servable]) -> list[dict[str, Any]]:
        return [
            {
                "id": model.id,
                "object": "model",
                "created": model.created,
                "owned_by": "codeladder",
                "label": model.label,
                "base": model.base,
                "prompt": model.form,
                "state": self.service.desk.answerer.state(model),
            }
            for model in models
        ]

    async def _answer(self, asked: Asked, order: Order, request: Request) -> Response:
        job = self.service.desk.take(order, request)
        form = Form(asked.model, chat=isinstance(asked, ChatAsked))
        if asked.stream:
            events = _events(job, form, asked.tells_usage)
            return StreamingResponse(events, media_type="text/event-stream")
        return await _whole(job, form)


def _order(model: Servable, asked: Asked, stop: tuple[str, ...], **said: Any) -> Order:
    """What is asked of a model, `stop` where the asker names no strings."""
    return Order(
        model=model,
        asking=asked.asking,
        stop=stop if asked.stop is None else tuple(asked.stop),
        seed=secrets.randbits(32) if asked.seed is None else asked.seed,
        **said,
    )


async def _whole(job: Job, form: Form) -> Response:
    text = ""
    try:
        async for told in job.told():
            if isinstance(told, str):
                continue
            text += told.text
            if told.finish:
                counted = usage(told.prompt_tokens, told.tokens)
                return JSONResponse(form.whole(text, told.finish, counted))
    except Exception as failure:
        return JSONResponse(_failed(failure), 400 if _is_askers(failure) else 500)
    return JSONResponse(error("the asker left", "invalid_request_error"), 499)


async def _events(job: Job, form: Form, tells_usage: bool) -> AsyncIterator[str]:
    first = True
    try:
        async for told in job.told():
            if isinstance(told, str):
                yield f": {told}\n\n"
                continue
            if told.text or told.finish or first:
                yield form.chunk(told.text, told.finish, first)
                first = False
            if told.finish and tells_usage:
                yield form.usage(usage(told.prompt_tokens, told.tokens))
    except Exception as failure:
        yield event(_failed(failure))
    yield "data: [DONE]\n\n"


def _is_askers(failure: Exception) -> bool:
    return isinstance(failure, EngineError | PromptError)


def _failed(failure: Exception) -> Any:
    if _is_askers(failure):
        return error(str(failure), "invalid_request_error")
    LOGGER.error("an answer failed", exc_info=failure)
    return error(str(failure), "server_error")
