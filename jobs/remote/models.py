"""What a server says of its model, asked before anything starts."""

import asyncio
from collections.abc import Mapping
from typing import Any

from jobs.answers import EngineError
from jobs.declared import nearest
from jobs.remote.client import Client
from jobs.remote.server import Server

TRIES = 2
TOLD = ("id", "created", "owned_by", "root", "parent", "max_model_len")
"""Of an entry of a server's list: what may tell one version of a model from another."""


def introduced(servers: Mapping[str, Server]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What servers say of their models, and what is wrong.

    A server that lists no models at all, as some do, is taken at its owner's word.

    Args:
        servers: by the name that the experiment has for the model.

    Returns:
        For each name what is known, to be recorded; and mistakes: what, where, nearest right thing.
    """
    found, mistakes = {}, []
    for name, server in servers.items():
        if server.key and not server.secret:
            where = f"models.{name}.server.key"
            mistakes.append(f"{where}: the environment variable that it names is not set")
            continue
        try:
            entries = _listed(asyncio.run(_models(server)))
        except EngineError as error:
            mistakes.append(f"models.{name}.server: {error}")
            continue
        entry = entries.get(server.model, {})
        if entries and not entry:
            hint = nearest(server.model, entries)
            where = f"models.{name}.server.model"
            mistakes.append(f"{where}: {server.url} has no {server.model!r}.{hint}")
        found[name] = {"url": server.url} | {key: entry[key] for key in TOLD if key in entry}
    return found, mistakes


async def _models(server: Server) -> Any:
    async with Client(server, tries=TRIES) as client:
        return await client.look("models")


def _listed(said: Any) -> dict[str, dict[str, Any]]:
    """Entries of a list of models, by name."""
    entries = said.get("data") if isinstance(said, dict) else None
    known = [entry for entry in entries or () if isinstance(entry, dict)]
    return {str(entry["id"]): entry for entry in known if "id" in entry}
