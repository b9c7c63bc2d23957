"""What the pages ask of the server beside them: stop a run, its log, and how the server does."""

from dataclasses import dataclass
from typing import Any

import httpx

from leaderboard.serving import ServerError, as_known, failure_of, reason

LOG_LINES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """How the model server does."""

    pending: int
    """Answers that are written or wait."""
    most: int
    """So many may; who comes then is asked to wait."""
    states: tuple[tuple[str, str], ...]
    """Label of each model on offer, and whether it is loaded, in the server's words."""


def stop(client: httpx.Client, run_id: str, who: str) -> str:
    """Ask for the end of a run; return what comes of it, in words.

    Raises:
        ServerError: there is no server, or it refuses; the message says why.
    """
    answer = _asked(client, "POST", f"/runs/{run_id}/stop", {"who": who})
    with as_known():
        return str(answer.json()["message"])


def log(client: httpx.Client, run_id: str) -> str:
    """Return the last lines of a run's log.

    Raises:
        ServerError: as `stop`; or there is no such log.
    """
    return _asked(client, "GET", f"/runs/{run_id}/log?lines={LOG_LINES}").text


def state(client: httpx.Client) -> ServerState:
    """Return how the server does.

    Raises:
        ServerError: there is none.
    """
    told, listed = _asked(client, "GET", "/health"), _asked(client, "GET", "/v1/models")
    with as_known():
        health, models = told.json(), listed.json().get("data") or []
        return ServerState(
            pending=int(health.get("pending", 0)),
            most=int(health.get("most", 0)),
            states=tuple(
                (str(model.get("label") or model["id"]), str(model.get("state") or "not known"))
                for model in models
            ),
        )


def _asked(
    client: httpx.Client, method: str, path: str, body: dict[str, Any] | None = None
) -> httpx.Response:
    try:
        response = client.request(method, path, json=body)
    except httpx.HTTPError as error:
        raise ServerError(failure_of(error)) from None
    if response.is_error:
        raise ServerError(_refusal(response))
    return response


def _refusal(response: httpx.Response) -> str:
    try:
        return reason(response.json())
    except ValueError:
        return f"the server answers {response.status_code}"
