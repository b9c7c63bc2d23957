"""Models that answer on a Ray cluster: replicas of the engine, as many as questions need."""

import asyncio
import hashlib
import logging
import os
import socket
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cluster.session import connect
from jobs.declared import UserError
from jobs.serving.engine import Room
from jobs.serving.order import Order
from jobs.serving.telling import LOADING_ADAPTER, LOADING_MODEL, STARTING, WAITING, WRITING, Told
from jobs.shelf import Servable

DEPLOYMENT = "models"
STATUS_SECONDS = 1.0
"""How old the number of replicas may be."""
STATES = {LOADING_MODEL: "loading", LOADING_ADAPTER: "loading", WRITING: "loaded"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How many replicas there may be."""

    least: int = 0
    most: int = 1

    @classmethod
    def read(cls, text: str) -> Self:
        """`MIN:MAX`, or one number for both.

        Raises:
            UserError: it is neither.
        """
        least, _, most = text.partition(":")
        with suppress(ValueError):
            scale = cls(least=int(least), most=int(most or least))
            if 0 <= scale.least <= scale.most and scale.most > 0:
                return scale
        raise UserError(f"--replicas {text}: say MIN:MAX, such as 0:4; MAX is 1 at least")


@contextmanager
def on_cluster(home: Path, room: Room, scale: Scale) -> Iterator["Replicas"]:
    """Have replicas on the cluster that `RAY_ADDRESS` names, or on one of our own.

    They are gone when this ends. Call it in the main thread, see `cluster.session.connect`.

    Raises:
        ClusterError: there is no cluster to be had.
    """
    # Threads of Ray Serve outlive its end by a moment, and must not start a cluster of their own.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    with connect(home / "serving") as cluster:
        from ray import serve

        from jobs.serving.replica import Replica

        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        name = _application(home)
        serve.start(proxy_location="Disabled")  # the door is ours
        deployment = serve.deployment(
            Replica,
            name=DEPLOYMENT,
            ray_actor_options={"num_cpus": 1, "num_gpus": 1 if cluster.gpus else 0},
            max_ongoing_requests=2 * room.seats,
            autoscaling_config=_scaling(room, scale),
            graceful_shutdown_timeout_s=2,
        )
        handle = serve.run(deployment.bind(room), name=name, route_prefix=None)
        try:
            yield Replicas(handle, name)
        finally:
            handle.shutdown()
            serve.delete(name)


def _scaling(room: Room, scale: Scale) -> dict[str, Any]:
    """One more replica where half of the seats are taken; one less after as long as a base idles.

    From none to one is immediate, whatever the delays.
    """
    return {
        "min_replicas": scale.least,
        "max_replicas": scale.most,
        "target_ongoing_requests": max(1, room.seats // 2),
        "upscale_delay_s": 5,
        "downscale_delay_s": room.idle,
        "downscale_to_zero_delay_s": room.idle,
        "metrics_interval_s": 1,
        "look_back_period_s": 2,
    }


def _application(home: Path) -> str:
    """The same for each start in one home, so that what a killed server left is taken over."""
    named = f"{socket.gethostname()}:{home.resolve()}:{os.getuid()}"
    return f"codeladder-{hashlib.sha256(named.encode()).hexdigest()[:8]}"


class Replicas:
    """Hands questions to the replicas; one base's to where it is loaded."""

    def __init__(self, handle: Any, application: str) -> None:
        """Take the handle of a running application."""
        self._handle = handle
        self._application = application
        self._heard: dict[str, str] = {}
        """State of each model, by its id, as an answer of it told last."""
        self._looked = threading.Lock()
        self._replicas: dict[str, int] = {}
        self._as_of = -STATUS_SECONDS

    def state(self, model: Servable) -> str:
        """`starting` (a replica), `waiting`, `loading` or `loaded`, as far as answers told."""
        replicas = self._count()
        if not replicas.get("RUNNING"):
            self._heard.clear()
            return STARTING if replicas else "waiting"
        return self._heard.get(model.id, "waiting")

    async def answer(self, order: Order) -> AsyncGenerator[Told]:
        """One answer as it is written, and before it what it is waiting for.

        Closing the iterator cancels the work where it is.

        Raises:
            EngineError: the model cannot be asked this.
            RuntimeError: something went wrong there.
        """
        yield WAITING
        chosen = self._handle.options(stream=True, multiplexed_model_id=_key(order.model))
        pieces = chosen.answer.remote(order)
        try:
            if not (await asyncio.to_thread(self._count)).get("RUNNING"):
                yield STARTING
            async for said in pieces:
                if isinstance(said, Exception):
                    raise said
                if said == WAITING:
                    continue
                state = STATES.get(said) if isinstance(said, str) else "loaded"
                if state is not None:
                    self._heard[order.model.id] = state
                yield said
        finally:
            pieces.cancel()

    def close(self) -> None:
        """Nothing is here: the replicas go with the cluster's context."""

    def _count(self) -> dict[str, int]:
        """How many replicas are in which of Ray's states, as of a moment ago."""
        from ray import serve

        with self._looked:
            if time.monotonic() - self._as_of > STATUS_SECONDS:
                application = serve.status().applications.get(self._application)
                found = application.deployments.get(DEPLOYMENT) if application else None
                states = found.replica_states if found else {}
                self._replicas = {getattr(key, "value", key): n for key, n in states.items()}
                self._as_of = time.monotonic()
            return self._replicas


def _key(model: Servable) -> str:
    """What models that share a base have in common."""
    named = repr((model.weights.source, model.weights.quantization))
    return hashlib.sha256(named.encode()).hexdigest()[:16]
