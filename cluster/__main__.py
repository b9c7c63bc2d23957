"""The command line of clusters: `python -m cluster COMMAND --help` tells of each.

The user's mistakes end with status 2 and no traceback.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from cluster.node import NodeError
from cluster.session import ROOT, ClusterError, running


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        return _COMMANDS[asked.command].run(asked)
    except (ClusterError, NodeError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def home() -> Path:
    """The folder of work, where a cluster leaves its token and its record."""
    return Path(os.environ.get("CODELADDER_HOME") or ROOT / "runs").resolve()


def _dashboard(asked: argparse.Namespace) -> int:
    found = running(home())
    if found is None:
        print(
            f"No command with a cluster runs in {home()}. "
            "The dashboard is there while `make train-all` or `python -m jobs run` works.",
            file=sys.stderr,
        )
        return 1
    if asked.command == "status":
        print(f"cluster    {found['address']}")
    print(f"dashboard  {found['dashboard_url'] or 'none'}")
    print(f"token      {_token(found['token_path'])}")
    return 0


def _token(path: str) -> str:
    return Path(path).read_text() if path else "as in RAY_AUTH_TOKEN"


def _node(asked: argparse.Namespace) -> int:
    from cluster.node_command import run_node

    return run_node(asked)


def _node_arguments(parser: argparse.ArgumentParser) -> None:
    from cluster.node_command import add_arguments

    add_arguments(parser)


def _none(_: argparse.ArgumentParser) -> None:
    pass


class _Command(NamedTuple):
    run: Callable[[argparse.Namespace], int]
    arguments: Callable[[argparse.ArgumentParser], None]
    help: str


_COMMANDS = {
    "status": _Command(_dashboard, _none, "where the cluster is, and its token"),
    "dashboard": _Command(_dashboard, _none, "the dashboard's address, and the token it asks for"),
    "node": _Command(_node, _node_arguments, "keep one node of a cluster on this host"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in _COMMANDS.items():
        sub = commands.add_parser(name, help=command.help, description=command.help)
        command.arguments(sub)
    return parser


if __name__ == "__main__":
    sys.exit(main())
