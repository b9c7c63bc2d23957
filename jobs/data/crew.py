"""The same function over many items: here, or on the cluster's processors."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Crew(Protocol):
    """Who works on the shards of a dataset."""

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        """(position of the item, result), in any order. `function` must be safe to repeat."""


class Alone:
    """This process, one item after the other."""

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        """In the order of the items."""
        return ((place, function(item)) for place, item in enumerate(items))


@dataclass(frozen=True, slots=True)
class OnCluster:
    """Up to so many processors of the cluster this process is connected to; one item stays here."""

    processors: int

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        """In order of completion."""
        if len(items) <= 1:
            return Alone().run(function, items)
        from cluster.pool import scatter

        return scatter(_Caller, [function], items, at_most=self.processors)


class _Caller(Generic[Item, Result]):
    """What an actor is: one function, kept with all it carries."""

    def __init__(self, function: Callable[[Item], Result]) -> None:
        self._function = function

    def work(self, item: Item) -> Result:
        return self._function(item)
