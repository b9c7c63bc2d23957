"""An OpenAI-compatible server for the models of the ledger, on this machine or behind a token."""

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from sqlalchemy import Engine
from starlette.types import ASGIApp, Receive, Scope, Send

from database.session import open_ledger
from eval_sandbox.mistakes import InputError
from eval_sandbox.sandbox import SandboxUnavailable
from jobs.declared import UserError
from jobs.desk import BusyError, Desk, Job, Order
from jobs.home import Home
from jobs.judge_desk import JudgeDesk, TooLargeError, read_asked
from jobs.prompts import alpaca
from jobs.shelf import Shelf, UnknownModelError, find, servable
from jobs.wire import Asked, ChatAsked, CompletionAsked, Form, PromptAsked, error, event, usage

LOGGER = logging.getLogger(__name__)
TOKEN = "CODELADDER_SERVE_TOKEN"
RETRY_SECONDS = 5
STOP = ("\n### ",)
"""Where an answer to an Alpaca prompt ends, unless the asker says otherwise."""
STOP_AFTER_SIGNATURE = ("\ndef ", "\nclass ", "\nprint(", "\nif __name__", *STOP)
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


def serve(host: str = "127.0.0.1", port: int = 8377) -> None:
    """Serve the models of this installation's ledger until stopped.

    Raises:
        UserError: see `serve_ledger`.
        LedgerError: the ledger cannot be opened; one that is not there yet is made.
    """
    serve_ledger(Home.from_environment().folder, open_ledger(), host, port)


def serve_ledger(home: Path, ledger: Engine, host: str, port: int) -> None:
    """Answer over HTTP until stopped.

    Args:
        home: folder that relative paths of checkpoints start from.
        ledger: read at each request, so that new runs appear.
        host: address to listen at; beyond this machine only with `CODELADDER_SERVE_TOKEN` set.
        port: 0 picks a free one.

    Raises:
        UserError: a token is missing, or the port is taken.
    """
    token = os.environ.get(TOKEN, "")
    local = is_loopback(host)
    if not local and not token:
        raise UserError(
            f"{host} can be reached from other machines, and {TOKEN} is not set: anybody could "
            f"use the models. Set {TOKEN} to a secret, or leave out --host"
        )
    listening = _listen(host, port)
    app = make_app(home, ledger, Desk(Shelf()), token=token, local=local)
    shown = f"[{host}]" if ":" in host else host
    print(f"Serving at http://{shown}:{listening.getsockname()[1]}/v1", flush=True)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
    uvicorn.Server(config).run(sockets=[listening])


def make_app(
    home: Path,
    ledger: Engine,
    desk: Desk,
    *,
    token: str,
    local: bool,
    judge_desk: JudgeDesk | None = None,
) -> FastAPI:
    """The application; `local` also refuses names of this machine that a web page could invent."""
    judges = judge_desk or JudgeDesk()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        desk.close()
        judges.close()

    app = FastAPI(title="Codeladder", lifespan=lifespan)
    service = Service(home, ledger, desk, judges)
    app.add_api_route("/health", service.health, methods=["GET"])
    app.add_api_route("/v1/models", service.models, methods=["GET"])
    app.add_api_route("/v1/prompts", service.prompts, methods=["POST"])
    for path, route in (
        ("/v1/completions", service.complete),
        ("/v1/chat/completions", service.chat),
    ):
        app.add_api_route(path, route, methods=["POST"], response_model=None)
    app.add_api_route("/judge", service.judge, methods=["POST"])
    app.add_exception_handler(RequestValidationError, _wrong_body)
    app.add_exception_handler(InputError, _wrong_tests)
    app.add_exception_handler(TooLargeError, _too_large)
    app.add_exception_handler(SandboxUnavailable, _no_sandbox)
    app.add_exception_handler(UnknownModelError, _unknown_model)
    app.add_exception_handler(BusyError, _busy)
    app.add_middleware(Door, token=token, local=local)
    return app


class Service:
    """The routes."""

    def __init__(self, home: Path, ledger: Engine, desk: Desk, judges: JudgeDesk) -> None:
        self.home = home
        self.ledger = ledger
        self.desk = desk
        self.judges = judges

    async def health(self) -> dict[str, Any]:
        """Whether the server lives, and how many answers are written or wait."""
        return {"status": "ok", "pending": self.desk.pending, "most": self.desk.most}

    async def models(self) -> dict[str, Any]:
        """The models that can be asked now."""
        known = await asyncio.to_thread(servable, self.ledger, self.home)
        entries = [
            {
                "id": model.id,
                "object": "model",
                "created": model.created,
                "owned_by": "codeladder",
                "label": model.label,
                "base": model.base,
                "state": self.desk.answerer.state(model),
            }
            for model in known
        ]
        return {"object": "list", "data": entries}

    async def prompts(self, asked: PromptAsked) -> dict[str, Any]:
        """The prompt that the models were tuned with, and where its answers end."""
        text = alpaca(asked.instruction, asked.input)
        if not asked.signature:
            return {"prompt": text, "stop": STOP}
        return {"prompt": text + asked.signature.rstrip("\n"), "stop": STOP_AFTER_SIGNATURE}

    async def judge(self, request: Request) -> dict[str, Any]:
        """Put a user's own tests to an answer, in the sandbox."""
        return asdict(await self.judges.judge(await read_asked(request)))

    async def complete(self, asked: CompletionAsked, request: Request) -> Response:
        """Continue a text."""
        return await self._answer(asked, asked.prompt, (), request)

    async def chat(self, asked: ChatAsked, request: Request) -> Response:
        """Answer the user's last message."""
        return await self._answer(asked, alpaca(asked.instruction), STOP, request)

    async def _answer(
        self, asked: Asked, text: str, stop: tuple[str, ...], request: Request
    ) -> Response:
        known = await asyncio.to_thread(servable, self.ledger, self.home)
        order = Order(
            model=find(known, asked.model),
            text=text,
            asking=asked.asking,
            stop=stop if asked.stop is None else tuple(asked.stop),
            seed=secrets.randbits(32) if asked.seed is None else asked.seed,
        )
        job = self.desk.take(order, request)
        form = Form(asked.model, chat=isinstance(asked, ChatAsked))
        if asked.stream:
            events = _events(job, form, asked.tells_usage)
            return StreamingResponse(events, media_type="text/event-stream")
        return await _whole(job, form)


class Door:
    """Lets in who may come in, before anything is read.

    On loopback the Host header has to be a name of this machine: a web page could otherwise point a
    name of its own at 127.0.0.1 and use the models from a visitor's browser.
    """

    def __init__(self, app: ASGIApp, token: str, local: bool) -> None:
        self.app = app
        self.token = token
        self.local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and (refusal := self._refusal(Request(scope))):
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if self.local and _without_port(host) not in LOOPBACK_NAMES:
            message = f"this server is local, and {host!r} is no name of this machine"
            return JSONResponse(error(message, "invalid_request_error"), 403)
        if not self.token or request.url.path == "/health":
            return None
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if secrets.compare_digest(given.encode(), self.token.encode()):
            return None
        message = f"a bearer token is needed: the one in {TOKEN}"
        refused = error(message, "authentication_error", code="invalid_api_key")
        return JSONResponse(refused, 401, {"WWW-Authenticate": "Bearer"})


def is_loopback(host: str) -> bool:
    """Whether an address to listen at is reached from this machine alone."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


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
    from jobs.engine import EngineError

    return isinstance(failure, EngineError)


def _failed(failure: Exception) -> Any:
    if _is_askers(failure):
        return error(str(failure), "invalid_request_error")
    LOGGER.error("an answer failed", exc_info=failure)
    return error(str(failure), "server_error")


async def _wrong_body(_: Request, failure: Exception) -> Response:
    assert isinstance(failure, RequestValidationError)
    part = failure.errors()[0]
    param = ".".join(str(key) for key in part["loc"][1:]) or None
    message = f"{param or 'body'}: {part['msg'].removeprefix('Value error, ')}"
    return JSONResponse(error(message, "invalid_request_error", param), 400)


async def _wrong_tests(_: Request, failure: Exception) -> Response:
    return JSONResponse(error(str(failure), "invalid_request_error", "tests"), 400)


async def _too_large(_: Request, failure: Exception) -> Response:
    # What is left of the body is not read, so nothing else can follow on this connection.
    refused = error(str(failure), "invalid_request_error")
    return JSONResponse(refused, 413, {"Connection": "close"})


async def _no_sandbox(_: Request, failure: Exception) -> Response:
    return JSONResponse(error(str(failure), "server_error", code="no_sandbox"), 503)


async def _unknown_model(_: Request, failure: Exception) -> Response:
    refused = error(str(failure), "invalid_request_error", "model", "model_not_found")
    return JSONResponse(refused, 404)


async def _busy(_: Request, failure: Exception) -> Response:
    refused = error(f"{failure}; try again soon", "rate_limit_error", code="busy")
    return JSONResponse(refused, 429, {"Retry-After": str(RETRY_SECONDS)})


def _without_port(host: str) -> str:
    return host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() else host


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=_family(host))
    except OSError as failure:
        if failure.errno != errno.EADDRINUSE:
            raise UserError(f"cannot listen at {host}, port {port}: {failure.strerror}") from None
    raise UserError(
        f"port {port} of {host} is taken, perhaps by another `python -m jobs serve`: stop that "
        "one, or choose another port with --port"
    )


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
