"""The routes that act on runs of the ledger: stop one, and read its log."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from database.queries import runs
from jobs.declared import UserError
from jobs.home import Home
from jobs.named_runs import named_run
from jobs.run_logs import LOG, tail
from jobs.serving.service import Service
from jobs.stopping import NotRunningError, ask_to_stop

LINES_AT_MOST = 5000


class StopAsked(BaseModel):
    """Who wants a run to end."""

    model_config = ConfigDict(extra="forbid")

    who: str = Field(default="", max_length=200)


def router(service: Service) -> APIRouter:
    """POST /runs/{id}/stop and GET /runs/{id}/log."""
    made = APIRouter()

    @made.post("/runs/{run_id}/stop")
    async def stop(run_id: str, asked: StopAsked) -> dict[str, Any]:
        """Have the driver of a run end it."""
        return await asyncio.to_thread(_stop, service, run_id, asked.who)

    @made.get("/runs/{run_id}/log", response_class=PlainTextResponse)
    async def log(run_id: str, lines: Annotated[int, Query(ge=1, le=LINES_AT_MOST)] = 200) -> str:
        """The last lines of a run's log."""
        return await asyncio.to_thread(_log, service, run_id, lines)

    return made


def _stop(service: Service, run_id: str, who: str) -> dict[str, Any]:
    try:
        asked = ask_to_stop(service.ledger, run_id, who)
    except NotRunningError as error:
        raise HTTPException(409, str(error)) from None
    except UserError as error:
        raise HTTPException(404, str(error)) from None
    return {
        "run": asked.run,
        "state": asked.state,
        "driver": asked.driver is not None,
        "message": str(asked),
        "stop": asdict(asked.stop),
    }


def _log(service: Service, run_id: str, lines: int) -> str:
    """Only a run that the ledger knows has a log here, so no other path can be asked for."""
    known = runs(service.ledger)
    try:
        run = named_run(run_id, known, known)
        return tail(Home(service.home).run(run.id) / LOG, lines)
    except UserError as error:
        raise HTTPException(404, str(error)) from None
    except FileNotFoundError:
        raise HTTPException(
            404,
            f"{run_id} has no log in this server's folder of work: it was made elsewhere, or by a "
            "version that kept none",
        ) from None
