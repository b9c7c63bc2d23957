"""What stands on a cluster: the engine of `jobs serve`, as a Ray Serve deployment.

Ray is imported with this module, so nothing imports it before a cluster is there.
"""

from collections.abc import AsyncIterator

from ray import serve

from jobs.answers import EngineError
from jobs.prompts import PromptError
from jobs.serving.engine import ModelEngine, Room
from jobs.serving.order import Order
from jobs.serving.telling import Told


class Replica:
    """One engine on one GPU, or on a core where there is none."""

    def __init__(self, room: Room) -> None:
        """Load nothing yet."""
        self._engine = ModelEngine(room)

    async def answer(self, order: Order) -> AsyncIterator[Told | Exception]:
        """What the engine tells; what went wrong is told as well, since Ray rewords what is raised.

        An asynchronous generator, so that it is closed when the call is cancelled.
        """
        await self._base(serve.get_multiplexed_model_id())
        try:
            async for said in self._engine.answer(order):
                yield said
        except (EngineError, PromptError) as error:
            yield error
        except Exception as error:
            yield RuntimeError(str(error))

    @serve.multiplexed(max_num_models_per_replica=Room().bases)  # type: ignore[untyped-decorator]
    async def _base(self, key: str) -> str:
        """Let Ray know that questions to this base are best sent here; the engine loads it."""
        return key
