"""What a server says of its model, asked before anything starts."""

import asyncio
from collections.abc import Mapping
from typing import Any

from jobs.answers import EngineError
from jobs.declared import nearest
from jobs.remote.client import Client
from jobs.remote.server import Server

TRIES = 2
A_WORD = {"max_tokens": 1, "temperature": 0}
"""The rest of the shortest question that there is."""
TOLD = ("id", "created", "owned_by", "root", "parent", "max_model_len")
"""Of an entry of a server's list: what may tell one version of a model from another."""


def introduced(servers: Mapping[str, Server]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What servers say of their models, and what is wrong.

    A server that lists no models at all, as some do, is taken at its owner's word. One that lists
    others only, as `transformers serve` does, is asked for a single token.

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
            entries, answers = asyncio.run(_asked(server))
        except EngineError as error:
            mistakes.append(f"models.{name}.server: {error}")
            continue
        if not answers:
            hint = nearest(server.model, entries)
            where = f"models.{name}.server.model"
            mistakes.append(f"{where}: {server.url} has no {server.model!r}.{hint}")
        entry = entries.get(server.model, {})
        found[name] = {"url": server.url} | {key: entry[key] for key in TOLD if key in entry}
    return found, mistakes


async def _asked(server: Server) -> tuple[dict[str, dict[str, Any]], bool]:
    """The models that a server lists, and whether it answers for the one that is wanted."""
    async with Client(server, tries=TRIES) as client:
        entries = _listed(await client.look("models"))
        there = not entries or server.model in entries or await _says_a_word(client, server)
    return entries, there


async def _says_a_word(client: Client, server: Server) -> bool:
    messages = [{"role": "user", "content": "Hi"}]
    for route, said in (
        ("completions", {"prompt": "Hi"}),
        ("chat/completions", {"messages": messages}),
    ):
        try:
            await client.ask(route, {"model": server.model} | said | A_WORD)
        except EngineError:
            continue
        return True
    return False


def _listed(said: Any) -> dict[str, dict[str, Any]]:
    """Entries of a list of models, by name."""
    entries = said.get("data") if isinstance(said, dict) else None
    known = [entry for entry in entries or () if isinstance(entry, dict)]
    return {str(entry["id"]): entry for entry in known if "id" in entry}
