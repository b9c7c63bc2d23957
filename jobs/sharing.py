"""How an experiment shares a cluster with others."""

from pydantic import Field

from cluster.slots import Share
from jobs.declared import Declared


class Sharing(Declared):
    """What stands under `cluster` in an experiment; shapes no result."""

    priority: int = 0
    """Of several experiments on one cluster the one with the highest goes first."""
    gpus: int | None = Field(default=None, ge=1)
    """The most GPUs that it holds at once; default: all."""
    processors: int | None = Field(default=None, ge=1)
    """The most processors that its judging, or without GPUs all of it, holds at once."""
    accelerator: str = ""
    """The kind of GPU that it takes, as Ray names it, such as H100; default: any."""

    def of_gpus(self, experiment: str) -> Share:
        """What an experiment may have of the GPUs."""
        return Share(
            experiment=experiment,
            priority=self.priority,
            limit=self.gpus,
            kind=self.accelerator,
        )

    def of_processors(self, experiment: str) -> Share:
        """What an experiment may have of the processors."""
        return Share(experiment=experiment, priority=self.priority, limit=self.processors)
