"""The curve of a training with transformers: `trainer_state.json` as rows of steps.

Read from github.com/huggingface/transformers, trainer.py and trainer_callback.py: `log_history`
has an object for each time it logged, with `step` and some of `loss`, `learning_rate`,
`grad_norm`, `eval_loss`, `num_input_tokens_seen`; `loss` is the mean since the last one.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from database import schema
from eval_sandbox.mistakes import Mistakes
from eval_sandbox.records import read_document

_MOST_STEPS = 10_000_000
_MOST_TOKENS = 2**31 - 1
"""Of one step: what the ledger's column holds."""


def read_training(path: Path, run: str) -> list[schema.Row]:
    """A training's row and one for each step that it logged.

    What was not logged is null, and 0 where a row must have a number: learning rate, tokens,
    seconds.

    Raises:
        InputError: it is no such file, or a value is of the wrong kind.
    """
    state = read_document(path)
    history = state.get("log_history") if isinstance(state, dict) else None
    mistakes = Mistakes(path)
    if not isinstance(history, list):
        mistakes.add(None, "no list 'log_history', which trainer_state.json of transformers has")
        mistakes.raise_if_any()
    logged = _by_step(history or [], mistakes)
    if not logged:
        mistakes.add(None, "no step was logged in 'log_history'")
    steps = list(_steps(run, logged, mistakes))
    mistakes.raise_if_any()
    last = max(logged)
    of = state.get("max_steps")
    training = schema.Training(run=run, of=of if _is_step(of) else last, last_step=last)
    return [training, *steps]


def _by_step(history: list[Any], mistakes: Mistakes) -> dict[int, dict[str, Any]]:
    logged: dict[int, dict[str, Any]] = defaultdict(dict)
    for place, entry in enumerate(history):
        step = entry.get("step") if isinstance(entry, dict) else None
        if step == 0 and not isinstance(step, bool):
            continue  # eval_on_start: measured before the first step
        if not _is_step(step):
            mistakes.add(None, f"log_history[{place}]: a number 'step' from 1 is expected")
        elif entry.keys() & {"loss", "eval_loss"}:
            logged[step] |= entry
    return logged


def _is_step(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_STEPS


def _steps(
    run: str, logged: Mapping[int, Mapping[str, Any]], mistakes: Mistakes
) -> Iterator[schema.Step]:
    tokens_before = 0
    for step in sorted(logged):
        entry = logged[step]
        tokens = int(_number(entry, "num_input_tokens_seen") or tokens_before)
        grown = max(0, tokens - tokens_before)
        if grown > _MOST_TOKENS:
            mistakes.add(None, f"step {step}: 'num_input_tokens_seen' grew by {grown:.3g}")
        yield schema.Step(
            run=run,
            step=step,
            loss=_number(entry, "loss"),
            learning_rate=_number(entry, "learning_rate") or 0.0,
            gradient_norm=_number(entry, "grad_norm"),
            tokens=grown,
            seconds=0.0,
            held_out_loss=_number(entry, "eval_loss"),
        )
        tokens_before = max(tokens, tokens_before)


def _number(entry: Mapping[str, Any], name: str) -> float | None:
    """A finite number of an entry; transformers writes NaN as it is."""
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
