"""What a score has cost: the time of devices, tokens, and money where a price is configured.

Asking is measured by whoever asks and training by the trainer; nothing is estimated here.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, select

from database.facts import Standing
from database.rows import rows_of
from database.schema import Checkpoint, Generation
from database.session import LedgerError

GPU_HOUR = "CODELADDER_GPU_HOUR"
CPU = "cpu"
_PRICE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s+([A-Z]{3})", re.ASCII)
_ADDRESS = "://"

AskedKey = tuple[str, str, str]
"""Run, benchmark, asking."""


@dataclass(frozen=True, slots=True)
class Price:
    """Of one hour of one GPU."""

    amount: float
    currency: str
    """As ISO 4217 writes it: USD, EUR."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spell:
    """Time that devices worked."""

    device: str
    """`cpu`, the name of the GPU, or the address of a server."""
    seconds: float
    """Summed over devices; of a server the wall clock."""

    @property
    def gpu_hours(self) -> float | None:
        """None where it was no GPU, or nobody here knows: a server's."""
        return None if self.device == CPU or _ADDRESS in self.device else self.seconds / 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one score has cost, as far as it was measured."""

    asking: Spell | None
    prompt_tokens: int | None
    """Read; a prompt counts once for all its completions."""
    tokens: int | None
    """Drawn, over all completions."""
    training: Spell | None
    """Of the weights: of a base that came as it is there is none."""
    training_tokens: int | None
    gained: float | None = None
    """Points over its base, [-100, 100]; None: no difference is claimed."""

    @property
    def tokens_per_second(self) -> float | None:
        """Drawn, for each second of a device."""
        if self.asking is None or self.tokens is None or self.asking.seconds <= 0:
            return None
        return self.tokens / self.asking.seconds

    @property
    def gpu_hours(self) -> float | None:
        """Of asking and training together; None where none of it was on a GPU of ours."""
        hours = [spell.gpu_hours for spell in (self.asking, self.training) if spell]
        known = [one for one in hours if one is not None]
        return sum(known) if known else None

    @property
    def priced(self) -> str:
        """`training` or `asking` where only that part has a price; empty: all that is known."""
        asking, training = (
            spell is not None and spell.gpu_hours is not None
            for spell in (self.asking, self.training)
        )
        if training and not asking:
            return "training"
        return "asking" if asking and self.training and not training else ""

    @property
    def points_per_hour(self) -> float | None:
        """Points gained for each hour that a device trained; of a CPU where that trained.

        None under an hour: nobody knows what more of it would have gained.
        """
        if self.gained is None or self.training is None or self.training.seconds < 3600:
            return None
        return self.gained / (self.training.seconds / 3600)

    def money(self, price: Price) -> float | None:
        """Return the price of its GPU hours, in the price's currency; None where it has none."""
        return None if self.gpu_hours is None else self.gpu_hours * price.amount


def price_of(said: str) -> Price | None:
    """Return the price that a text such as `2.49 USD` names; None where the text is empty.

    Raises:
        LedgerError: it is no price.
    """
    if not said.strip():
        return None
    found = _PRICE.fullmatch(said.strip())
    if found is None or float(found[1]) == 0:
        raise LedgerError(
            f"{GPU_HOUR} is {said!r}; a price above 0 and a currency are expected, such as "
            "'2.49 USD'"
        )
    return Price(float(found[1]), found[2])


def configured_price() -> Price | None:
    """Return what the environment says a GPU hour costs; None where it says nothing.

    Raises:
        LedgerError: it says something that is no price.
    """
    return price_of(os.environ.get(GPU_HOUR, ""))


def costs(engine: Engine, standings: Sequence[Standing]) -> dict[tuple[str, str, str, str], Cost]:
    """Return what scores have cost, by run, benchmark, metric and contract.

    Those of which nothing was measured are left out.
    """
    runs = {standing.result.run for standing in standings}
    if not runs:
        return {}
    asked, trained = _asked(engine, runs), _trained(engine, runs)
    found = {}
    for standing in standings:
        result = standing.result
        asking = asked.get((result.run, result.benchmark, standing.asking))
        training = trained.get(result.run)
        if asking or training:
            found[cost_key(standing)] = _cost(standing, asking, training)
    return found


def cost_key(standing: Standing) -> tuple[str, str, str, str]:
    """Return what the cost of a score is found by."""
    result = standing.result
    return result.run, result.benchmark, result.metric, result.contract


def _asked(engine: Engine, runs: set[str]) -> dict[AskedKey, Any]:
    wanted = select(Generation.__table__).where(Generation.run.in_(runs))
    return {(row.run, row.benchmark, row.asking): row for row in rows_of(engine, wanted)}


def _trained(engine: Engine, runs: set[str]) -> dict[str, dict[str, Any]]:
    """Facts of the trainings that are done; older ones lack some, and then there is no cost."""
    wanted = select(Checkpoint.run, Checkpoint.facts).where(Checkpoint.run.in_(runs))
    needed = {"seconds", "ranks", "device", "tokens"}
    return {row.run: row.facts for row in rows_of(engine, wanted) if needed <= row.facts.keys()}


def _cost(standing: Standing, asked: Any, trained: dict[str, Any] | None) -> Cost:
    delta = standing.result.delta
    claimed = delta and (standing.result.verdict or delta.verdict) in ("better", "worse")
    return Cost(
        asking=Spell(device=asked.device, seconds=asked.seconds) if asked else None,
        prompt_tokens=asked.prompt_tokens if asked else None,
        tokens=asked.tokens if asked else None,
        training=_training(trained) if trained else None,
        training_tokens=trained["tokens"] if trained else None,
        gained=100 * delta.value if claimed and delta and delta.value is not None else None,
    )


def _training(facts: dict[str, Any]) -> Spell:
    return Spell(device=facts["device"], seconds=facts["seconds"] * facts["ranks"])
