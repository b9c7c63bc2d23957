"""What the routes of the server are given."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine

if TYPE_CHECKING:
    from jobs.desk import Desk
    from jobs.judge_desk import JudgeDesk


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """All that a group of routes may need; each group is a router, made by its module of this."""

    home: Path
    """The folder of work: relative paths of checkpoints start from it."""
    ledger: Engine
    """Open; written through `database.writing.write` only."""
    desk: "Desk"
    """Where questions wait for a model."""
    judges: "JudgeDesk"
    """Where answers wait for the sandbox."""
