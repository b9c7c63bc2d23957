"""What an experiment says of a server, and what must be true of it before anything starts."""

import os
import re
from ipaddress import ip_address
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from jobs.declared import Declared

KEY_FORM = r"[A-Z_][A-Z0-9_]*"


class Server(Declared):
    """A model behind an OpenAI-compatible server: vLLM, SGLang, llama.cpp, a hosted one."""

    url: str
    """What its routes come after, such as `http://127.0.0.1:8000/v1`."""
    model: str = Field(min_length=1)
    """Its name there."""
    key: str = ""
    """Name of the environment variable that holds the key; empty: none is sent."""
    concurrency: int = Field(default=8, ge=1)
    """Requests under way at once."""
    per_minute: float = Field(default=0.0, ge=0)
    """Requests begun in a minute, at most; 0: no limit but the server's own."""
    timeout: float = Field(default=600.0, gt=0)
    """Seconds to wait for an answer."""
    revision: str = ""
    """Which version of the model is behind the name, as far as its owner says: part of a run's
    identity."""

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("no address of a server; give http://HOST:PORT/v1 or https://HOST/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "a key has no place in an address, which is recorded; name the environment "
                "variable that holds it as `key`"
            )
        return url.rstrip("/")

    @model_validator(mode="after")
    def _key_is_a_name(self) -> Self:
        if self.key and not re.fullmatch(KEY_FORM, self.key, re.ASCII):
            raise ValueError(  # and not which: it may be the key itself
                "key is no name of an environment variable, such as MY_API_KEY; the key itself "
                "must not stand in an experiment"
            )
        return self

    @property
    def identity(self) -> str:
        """What is asked, as far as anybody outside can tell: no address and no key."""
        return f"served:{self.model}@{self.revision}"

    @property
    def secret(self) -> str:
        """The key, without white space around it; empty where none is sent. Never printed, never
        written."""
        return os.environ.get(self.key, "").strip() if self.key else ""

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, so that no proxy stands between."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"
