"""The command line of clusters: `python -m cluster COMMAND --help` tells of each.

The user's mistakes end with status 2 and no traceback.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cluster.acting import Hands
from cluster.node import NodeError
from cluster.session import ROOT, ClusterError, own_token, running


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


def _at(asked: argparse.Namespace) -> Any:
    """The place of the cluster that the user names."""
    from cluster.places.known import at

    return at(asked.cluster, home(), Hands(dry=getattr(asked, "dry_run", False)))


def _up(asked: argparse.Namespace) -> int:
    _at(asked).up()
    return 0


def _down(asked: argparse.Namespace) -> int:
    _at(asked).down()
    return 0


def _status(asked: argparse.Namespace) -> int:
    if asked.cluster is not None:
        return int(_at(asked).status())
    return _dashboard(asked)


def _submit(asked: argparse.Namespace) -> int:
    from cluster.places.place import Submission
    from cluster.submitting import dashboard_at, name_of, submit_to, submit_to_recorded

    hands = Hands(dry=asked.dry_run)
    submission = Submission(
        experiment=asked.experiment,
        name=name_of(asked.experiment, asked.name),
        wait=asked.wait,
        restarts=asked.restarts,
    )
    if asked.at and asked.cluster:
        raise ClusterError(f"--at names a cluster, and {asked.cluster} another; say one")
    if asked.at:
        return submit_to(dashboard_at(asked.at), own_token(home()), submission, hands)
    if asked.cluster is None:
        return submit_to_recorded(home(), submission, hands)
    return int(_at(asked).submit(submission))


def _keep(asked: argparse.Namespace) -> int:
    from cluster.keeping import keep

    command = asked.rest[1:] if asked.rest[:1] == ["--"] else asked.rest
    if not command:
        raise ClusterError("keep what? python -m cluster keep -- COMMAND ...")
    return keep(command, asked.restarts, asked.as_done)


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


def _file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cluster", type=Path, metavar="FILE", help="cluster/NAME.yaml")


def _file_and_dry(parser: argparse.ArgumentParser) -> None:
    _file(parser)
    _dry(parser)


def _dry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")


def _file_or_current(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "cluster", type=Path, nargs="?", metavar="FILE", help="default: the one that is up"
    )


def _submit_arguments(parser: argparse.ArgumentParser) -> None:
    _file_or_current(parser)
    parser.add_argument("experiment", type=Path, help="experiments/NAME.yaml")
    parser.add_argument("--name", default="", help="of the Ray job; default: experiment and time")
    parser.add_argument("--at", default="", metavar="HOST:PORT", help="of a control store instead")
    parser.add_argument("--wait", action="store_true", help="show its output; end as it ends")
    parser.add_argument("--restarts", type=int, default=10, help="of a driver that crashes")
    _dry(parser)


def _keep_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--restarts", type=int, default=10, help="of a command that crashes")
    parser.add_argument(
        "--as-done", type=int, action="append", default=[], metavar="N", help="end with 0 for N"
    )
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="-- COMMAND ...")


def _none(_: argparse.ArgumentParser) -> None:
    pass


class _Command(NamedTuple):
    run: Callable[[argparse.Namespace], int]
    arguments: Callable[[argparse.ArgumentParser], None]
    help: str


_COMMANDS = {
    "up": _Command(_up, _file_and_dry, "bring a cluster up; safe to repeat"),
    "down": _Command(_down, _file_and_dry, "take a cluster away; safe to repeat"),
    "status": _Command(_status, _file_or_current, "what is up, where it is, and its token"),
    "submit": _Command(_submit, _submit_arguments, "have an experiment run on a cluster"),
    "dashboard": _Command(_dashboard, _none, "the dashboard's address, and the token it asks for"),
    "keep": _Command(_keep, _keep_arguments, "run a driver, and again where it crashes"),
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
