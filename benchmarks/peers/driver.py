"""What every measured tool speaks: one JSON object a line, over a socket that it is handed.

`{"executions": N}` is answered, once all N have been run, by an object with at least `passed`.
"""

import argparse
import gzip
import json
import socket
from collections.abc import Callable
from typing import Any

Answer = dict[str, Any]


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every driver takes."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--channel", type=int, required=True, help="descriptor of the socket")
    options.add_argument("--problems", required=True, help="HumanEval.jsonl.gz")
    return options


def read(path: str) -> list[dict[str, Any]]:
    """The objects of a .jsonl.gz file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def program(problem: dict[str, Any]) -> str:
    """The canonical solution with its test: raises unless it is right."""
    check = f"check({problem['entry_point']})"
    return f"{problem['prompt']}{problem['canonical_solution']}\n{problem['test']}\n{check}\n"


def serve(channel: int, run: Callable[[int], Answer]) -> None:
    """Answer until the other end hangs up."""
    with socket.socket(fileno=channel) as connection:
        connection.set_inheritable(False)
        with connection.makefile("rw", encoding="utf-8") as lines:
            while line := lines.readline():
                answer = run(json.loads(line)["executions"])
                lines.write(json.dumps(answer) + "\n")
                lines.flush()
