"""How an instruction is put."""

from random import Random

from models.starter.recipe.grammar import Function

INSTRUCTIONS = (
    "Write a function `{call}` that returns {meaning}.",
    "Write `{call}`, which returns {meaning}.",
    "Implement `{call}` so that it returns {meaning}.",
    "Define a Python function `{call}` that returns {meaning}.",
    "Your function `{call}` should return {meaning}.",
    "Write a function `{call}` returning {meaning}.",
    "Complete `{call}`: return {meaning}.",
)


def instruction(function: Function, rng: Random) -> str:
    """A request for the function that names it and its parameters in backticks."""
    return rng.choice(INSTRUCTIONS).format(call=function.call, meaning=function.meaning)
