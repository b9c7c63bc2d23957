"""How the server says no: each mistake of an asker as an error in OpenAI's form."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from eval_sandbox.mistakes import InputError
from eval_sandbox.sandbox import SandboxUnavailable
from jobs.desk import BusyError
from jobs.judge_desk import TooLargeError
from jobs.shelf import UnknownModelError
from jobs.wire import error

RETRY_SECONDS = 5


def add_refusals(app: FastAPI) -> None:
    """Have an application answer these exceptions of its routes."""
    app.add_exception_handler(RequestValidationError, _wrong_body)
    app.add_exception_handler(InputError, _wrong_tests)
    app.add_exception_handler(TooLargeError, _too_large)
    app.add_exception_handler(SandboxUnavailable, _no_sandbox)
    app.add_exception_handler(UnknownModelError, _unknown_model)
    app.add_exception_handler(BusyError, _busy)


async def _wrong_body(_: Request, failure: Exception) -> Response:
    assert isinstance(failure, RequestValidationError)
    part = failure.errors()[0]
    param = ".".join(str(key) for key in part["loc"][1:]) or None
    message = f"{param or 'body'}: {part['msg'].removeprefix('Value error, ')}"
    return JSONResponse(error(message, "invalid_request_error", param), 400)


async def _wrong_tests(_: Request, failure: Exception) -> Response:
    return JSONResponse(error(str(failure), "invalid_request_error", "tests"), 400)


async def _too_large(_: Request, failure: Exception) -> Response:
    assert isinstance(failure, TooLargeError)
    # What is left of the body is not read, so nothing else can follow on this connection.
    refused = error(failure.detail, "invalid_request_error")
    return JSONResponse(refused, 413, {"Connection": "close"})


async def _no_sandbox(_: Request, failure: Exception) -> Response:
    return JSONResponse(error(str(failure), "server_error", code="no_sandbox"), 503)


async def _unknown_model(_: Request, failure: Exception) -> Response:
    refused = error(str(failure), "invalid_request_error", "model", "model_not_found")
    return JSONResponse(refused, 404)


async def _busy(_: Request, failure: Exception) -> Response:
    refused = error(f"{failure}; try again soon", "rate_limit_error", code="busy")
    return JSONResponse(refused, 429, {"Retry-After": str(RETRY_SECONDS)})
