"""An OpenAI-compatible server for the models of the ledger, on this machine or behind a token."""

import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine

from database.patience import for_pages
from database.session import open_ledger
from jobs import control_desk, judge_again, vote_desk
from jobs.declared import UserError
from jobs.desk import Answerer, Desk
from jobs.home import Home
from jobs.judge_desk import JudgeDesk
from jobs.serving import asking_routes, judging_routes
from jobs.serving.door import TOKEN, Door, is_loopback
from jobs.serving.engine import ModelEngine, Room
from jobs.serving.refusals import add_refusals
from jobs.serving.replicas import Scale, on_cluster
from jobs.serving.service import Service

ROUTERS = (
    asking_routes.router,
    judging_routes.router,
    control_desk.router,
    judge_again.router,
    vote_desk.router,
)
"""Each makes one group of routes of what the server has; a new group is one more line."""


def serve(
    host: str = "127.0.0.1",
    port: int = 8377,
    room: Room | None = None,
    scale: Scale | None = None,
) -> None:
    """Serve the models of this installation's ledger until stopped.

    Raises:
        UserError: see `serve_ledger`.
        LedgerError: the ledger cannot be opened; one that is not there yet is made.
        ClusterError: there is no cluster to be had.
    """
    serve_ledger(Home.from_environment().folder, for_pages(open_ledger()), host, port, room, scale)


def serve_ledger(
    home: Path,
    ledger: Engine,
    host: str,
    port: int,
    room: Room | None = None,
    scale: Scale | None = None,
) -> None:
    """Answer over HTTP until stopped. Call it in the main thread.

    Args:
        home: folder that relative paths of checkpoints start from.
        ledger: read at each request, so that new runs appear.
        host: address to listen at; beyond this machine only with `CODELADDER_SERVE_TOKEN` set.
        port: 0 picks a free one.
        room: what may be in memory at once.
        scale: replicas on a cluster; None: this process answers, unless `RAY_ADDRESS` is set.

    Raises:
        UserError: a token is missing, or the port is taken.
        ClusterError: there is no cluster to be had.
    """
    token = os.environ.get(TOKEN, "")
    local = is_loopback(host)
    if not local and not token:
        raise UserError(
            f"{host} can be reached from other machines, and {TOKEN} is not set: anybody could "
            f"use the models. Set {TOKEN} to a secret, or leave out --host"
        )
    listening = _listen(host, port)
    with _answering(home, room or Room(), scale) as answerer:
        app = make_app(home, ledger, Desk(answerer), token=token, local=local)
        shown = f"[{host}]" if ":" in host else host
        print(f"Serving at http://{shown}:{listening.getsockname()[1]}/v1", flush=True)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
        uvicorn.Server(config).run(sockets=[listening])


@contextlib.contextmanager
def _answering(home: Path, room: Room, scale: Scale | None) -> Iterator[Answerer]:
    """What writes the answers: an engine in this process, or replicas of it on a cluster."""
    if scale is None and not os.environ.get("RAY_ADDRESS"):
        yield ModelEngine(room)
        return
    with on_cluster(home, room, scale or Scale()) as replicas:
        yield replicas


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
    service = Service(home=home, ledger=ledger, desk=desk, judges=judges)
    for router in ROUTERS:
        app.include_router(router(service))
    add_refusals(app)
    app.add_middleware(Door, token=token, local=local)
    return app


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
