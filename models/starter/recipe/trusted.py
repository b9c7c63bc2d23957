"""Runs code that this recipe wrote. Never for code that a model wrote: that goes to the sandbox."""

import copy
from collections.abc import Callable

from models.starter.recipe.grammar import Value


def run(code: str, name: str) -> Callable[[list[Value]], Value]:
    """The function `name` defined by `code`, called with copies of the arguments."""
    namespace: dict[str, object] = {}
    exec(compile(code, "<recipe>", "exec"), namespace)
    function = namespace[name]
    assert callable(function)

    def call(values: list[Value]) -> Value:
        return function(*copy.deepcopy(values))

    return call
