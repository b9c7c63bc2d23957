"""A model that an experiment compares: a folder, a repository of the hub, or a name at a server."""

import re
from datetime import date
from typing import Self

from pydantic import Field, model_validator

from jobs.declared import Declared
from jobs.methods import Parallelism
from jobs.recipes import ROOT
from jobs.remote.server import Server


class ModelSpec(Declared):
    """A base model, pinned so that a score can be reproduced."""

    path: str = ""
    """A folder in Hugging Face format, relative to the repository or absolute."""
    hub: str = ""
    """Repository on the Hugging Face Hub."""
    revision: str = ""
    """Commit of that repository, 40 hex digits. Branch names move, so they are not accepted."""
    server: Server | None = None
    """Where it is asked over HTTP; such a model is not trained."""
    parameters: float = Field(default=0.0, ge=0)
    """How many, in units of 10^9: only `plan` uses it, where the weights are not at hand."""
    parallelism: Parallelism = Parallelism()
    released: date | None = None
    """When it was published: problems that are older may have been learnt."""

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if sum(map(bool, (self.path, self.hub, self.server))) != 1:
            raise ValueError("name a path (a local folder), a hub repository, or a server: one")
        if self.hub and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", self.hub, re.ASCII):
            raise ValueError(f"hub {self.hub!r} is no repository; give OWNER/NAME")
        if self.hub and not re.fullmatch(r"[0-9a-f]{40}", self.revision):
            raise ValueError(
                f"revision {self.revision!r} is no commit; give the 40 hex digits that "
                f"https://huggingface.co/{self.hub}/commits shows"
            )
        return self

    @property
    def location(self) -> str:
        """What `from_pretrained` takes: an absolute folder or the hub's name. Of a model that is
        served, its name there."""
        if self.server:
            return self.server.model
        return str((ROOT / self.path).resolve()) if self.path else self.hub
