"""The JSON API beside the pages: scores, runs and verdicts, read only, described by OpenAPI."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from database import LedgerError, NoLedgerError, queries
from database.anomalies import anomalies, flagged
from database.exchange import as_json
from database.facts import Answer
from database.in_view import in_view

LOGGER = logging.getLogger(__name__)
MOST = 1_000
"""Rows of one answer."""

Limit = Annotated[int, Query(ge=1, le=MOST)]
Offset = Annotated[int, Query(ge=0, le=10**9)]


def make_api(ledger: Callable[[], Engine]) -> FastAPI:
    """The API over a ledger that is opened when it is first asked for.

    There are no pages of documentation: they would load scripts from elsewhere.
    """
    api = FastAPI(
        title="Codeladder",
        version="1",
        description="What a Codeladder ledger holds. Fractions are in [0, 1], moments in UTC.",
        docs_url=None,
        redoc_url=None,
    )
    routes = Routes(ledger)
    for path, route in (
        ("/benchmarks", routes.benchmarks),
        ("/scores", routes.scores),
        ("/runs", routes.runs),
        ("/runs/{run}", routes.run),
        ("/verdicts", routes.verdicts),
    ):
        api.add_api_route(path, route, methods=["GET"])
    api.add_exception_handler(NoLedgerError, _no_ledger)
    api.add_exception_handler(LedgerError, _unreadable)
    api.add_exception_handler(DBAPIError, _unreadable)
    return api


class Routes:
    """What is answered; FastAPI runs each in a thread."""

    def __init__(self, ledger: Callable[[], Engine]) -> None:
        self.ledger = ledger

    def benchmarks(self) -> list[dict[str, Any]]:
        """Benchmarks that have scores, and their metrics."""
        return [asdict(benchmark) for benchmark in queries.benchmarks(self.ledger())]

    def scores(
        self,
        benchmark: str | None = None,
        metric: str | None = None,
        experiment: str | None = None,
        run: str | None = None,
    ) -> Response:
        """Scores with their difference from the base: what `python -m jobs results --json` prints.

        Ranks and adjusted p are among the scores of one answer.
        """
        ledger = self.ledger()
        try:
            found = queries.standings(
                ledger, benchmark=benchmark, metric=metric, experiment=experiment, run=run
            )
        except LedgerError as error:  # of an experiment that is not there
            raise HTTPException(404, str(error)) from None
        found = in_view(found)
        results = [one.result for one in flagged(found, anomalies(ledger, found))]
        return Response(as_json(results), media_type="application/json")

    def runs(
        self, state: str | None = None, limit: Limit = 100, offset: Offset = 0
    ) -> list[dict[str, Any]]:
        """Runs, the newest first."""
        found = [run for run in queries.runs(self.ledger()) if state in (None, run.state)]
        return [asdict(run) for run in found[offset : offset + limit]]

    def run(self, run: str) -> dict[str, Any]:
        """One run: what it is made of, where it came from, where it stands, its checkpoint."""
        page = queries.run_page(self.ledger(), run)
        if page is None:
            raise HTTPException(404, f"the ledger holds no run {run!r}")
        events = [asdict(event) for event in queries.events(self.ledger(), run)]
        weights = asdict(page.checkpoint) if page.checkpoint else None
        return asdict(page.run) | {"checkpoint": weights, "events": events}

    def verdicts(
        self,
        run: str,
        benchmark: str,
        outcome: str | None = None,
        text: bool = False,
        limit: Limit = 100,
        offset: Offset = 0,
    ) -> list[dict[str, Any]]:
        """Verdicts on a run's answers, in the order of the benchmark's file.

        A `sandbox_error` says nothing of the model. With `text=true` answers, prompts and tests
        come too.
        """
        found = queries.completions(
            self.ledger(), run, benchmark, outcome=outcome, limit=limit, offset=offset
        )
        return [_told(answer, text) for answer in found]


def health(ledger: Callable[[], Engine]) -> Callable[[Request], Response]:
    """The route that says whether the site can read its ledger: 200, or 503.

    It is open to all, so why is in the site's log alone: it may name the database and its user.
    """

    def answer(_: Request) -> Response:
        try:
            queries.pulse(ledger())
        except NoLedgerError:
            return JSONResponse({"status": "ok", "ledger": "none yet"})
        except (LedgerError, DBAPIError) as error:
            LOGGER.warning("the ledger cannot be read: %s", _said(error))
            told = "it cannot be read; the site's log says why"
            return JSONResponse({"status": "failing", "ledger": told}, 503)
        return JSONResponse({"status": "ok", "ledger": "ok"})

    return answer


def _told(answer: Answer, text: bool) -> dict[str, Any]:
    told = asdict(answer)
    if not text:
        for name in ("text", "prompt", "instruction", "tests"):
            del told[name]
    return told


async def _no_ledger(_: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 404)


async def _unreadable(_: Request, error: Exception) -> Response:
    return JSONResponse({"detail": _said(error)}, 503)


def _said(error: Exception) -> str:
    """A reason without the statement and its parameters."""
    if isinstance(error, DBAPIError):
        return f"the ledger does not answer: {error.orig}"
    return str(error)
