"""The command line: `python -m jobs COMMAND --help` tells of each.

A command selects a file; no option changes a result. The user's mistakes end with status 2 and no
traceback; ours keep it.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from sqlalchemy import Engine

from cluster.session import ClusterError
from database.session import LedgerError
from eval_sandbox.sandbox import SandboxUnavailable
from jobs.declared import UserError
from jobs.judge import SandboxFailedError

LOG_WIDTH = 140
"""Columns of a table where no terminal says how many it has."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    asked = _parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    try:
        return _COMMANDS[asked.command].run(asked, console)
    except (UserError, LedgerError, ClusterError, SandboxUnavailable) as error:
        print(error, file=sys.stderr)
        return 2
    except SandboxFailedError as error:
        print(f"Nothing was recorded: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130


def _plan(asked: argparse.Namespace, console: Console) -> int:
    from jobs.plan import show_plan

    show_plan(asked.experiment, console)
    return 0


def _run(asked: argparse.Namespace, console: Console) -> int:
    from jobs.curves.copies import Copies
    from jobs.run import run_experiment

    copies = Copies(tensorboard=asked.tensorboard, mlflow=asked.mlflow)
    return run_experiment(asked.experiment, console, copies)


def _stop(asked: argparse.Namespace, console: Console) -> int:
    import os

    from jobs.stopping import ask_to_stop_all

    with _ledger(writing=True) as ledger:
        told = ask_to_stop_all(ledger, asked.name, os.environ.get("USER", ""))
    for one in told:
        console.print(f"{one}.", markup=False, highlight=False)
    return 0 if all(one.driver for one in told) else 1


def _retry(asked: argparse.Namespace, console: Console) -> int:
    import os

    from jobs.retry import ask_to_retry

    with _ledger(writing=True) as ledger:
        told = ask_to_retry(ledger, asked.name, os.environ.get("USER", ""))
    console.print(f"{told}", markup=False, highlight=False)
    return 0 if told.driver else 1


def _status(asked: argparse.Namespace, console: Console) -> int:
    from jobs.status import show_status

    with _ledger() as ledger:
        return show_status(ledger, asked.name, console, as_json=asked.json)


def _logs(asked: argparse.Namespace, console: Console) -> int:
    from jobs.home import Home
    from jobs.logs import show_logs

    home = Home.from_environment()
    with _ledger() as ledger:
        return show_logs(ledger, home, asked.name, console, follow=asked.follow, lines=asked.lines)


@contextlib.contextmanager
def _ledger(*, writing: bool = False) -> Iterator[Engine]:
    """The ledger that is there; none is made."""
    from database.session import open_for_reading, open_ledger

    ledger = open_for_reading()
    if writing:
        ledger.dispose()
        ledger = open_ledger()
    try:
        yield ledger
    finally:
        ledger.dispose()


def _results(asked: argparse.Namespace, console: Console) -> int:
    from database.exchange import as_csv, as_json, facts_as_csv, facts_as_json
    from database.session import open_for_reading
    from database.spread import OverSeeds
    from database.standings import scores
    from jobs.results import recipes_of, show_results

    ledger = open_for_reading()
    if not (asked.json or asked.csv):
        show_results(ledger, asked.experiment, console, by_recipe=asked.by_recipe)
    elif asked.by_recipe:
        found = recipes_of(ledger, asked.experiment)
        print(facts_as_json(found) if asked.json else facts_as_csv(OverSeeds, found), end="")
    else:
        print((as_json if asked.json else as_csv)(scores(ledger, asked.experiment)), end="")
    return 0


def _prepare(asked: argparse.Namespace, console: Console) -> int:
    from jobs.prepared import prepare_recipe

    prepare_recipe(asked.recipe, asked.experiment, console)
    return 0


def _new(asked: argparse.Namespace, console: Console) -> int:
    from jobs.new_dataset import new_dataset

    new_dataset(asked.file, asked.name, console)
    return 0


def _import(asked: argparse.Namespace, console: Console) -> int:
    from jobs.importing import import_answers
    from jobs.imports.options import order_of

    return import_answers(order_of(asked), console)


def _rescore(asked: argparse.Namespace, console: Console) -> int:
    from jobs.rejudged import Wanted
    from jobs.rescore import rescore

    named = ("benchmark", "run", "experiment", "preamble", "extract")
    return rescore(Wanted(**{name: getattr(asked, name) for name in named}), console)


def _export(asked: argparse.Namespace, console: Console) -> int:
    from jobs.exports.export import Wanted, export

    wanted = Wanted(to=asked.to, merged=asked.merged, hub=asked.hub, public=asked.public)
    export(asked.run, wanted, console)
    return 0


def _serve(asked: argparse.Namespace, console: Console) -> int:
    from jobs.serve import serve
    from jobs.serving.engine import Room
    from jobs.serving.replicas import Scale

    scale = Scale.read(asked.replicas) if asked.replicas else None
    serve(asked.host, asked.port, Room(idle=60 * asked.idle), scale)
    return 0


def _plan_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", type=Path, help="for instance experiments/starter.yaml")


def _run_options(parser: argparse.ArgumentParser) -> None:
    _plan_options(parser)
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="copy the curves of its trainings, live, to tensorboard/ in CODELADDER_HOME",
    )
    parser.add_argument(
        "--mlflow",
        metavar="URI_OR_FOLDER",
        help="copy them to an MLflow server or database, or to one made in a folder",
    )


def _results_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--experiment", help="only the runs of this experiment (its file's name)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="a JSON list, one object per score")
    form.add_argument("--csv", action="store_true", help="the same as CSV")
    parser.add_argument(
        "--by-recipe",
        action="store_true",
        help="also each recipe over its seeds, even where it has but one; with --json or --csv in "
        "place of the scores",
    )


def _prepare_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, help="for instance datasets/train/starter.yaml")
    parser.add_argument(
        "--experiment",
        type=Path,
        help="keep the benchmarks of this experiment out of it, as its runs do; otherwise all that "
        "are here",
    )


def _new_options(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    text = "Look at a file of rows to train on, show three as a model sees them, write a recipe."
    dataset = kinds.add_parser("dataset", help=text, description=text)
    dataset.add_argument("file", type=Path, help=".jsonl, .json, .csv or .parquet; also .gz, .zst")
    dataset.add_argument("--name", default="", help="of the recipe; the file's own without it")


def _import_options(parser: argparse.ArgumentParser) -> None:
    from jobs.imports.options import add_options

    add_options(parser)


def _rescore_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--benchmark", required=True, help="a recipe's name: humaneval, starter ..."
    )
    parser.add_argument("--run", default="", help="only this one: its id, or its label in quotes")
    parser.add_argument("--experiment", default="", help="only the runs of this experiment")
    parser.add_argument(
        "--preamble", default="", help="code before each program: none, standard; else the recipe's"
    )
    parser.add_argument(
        "--extract",
        default="",
        help="how code is found in an answer: none, fenced, chat; else as recipe and prompt say",
    )


def _export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="its id, or its label in quotes")
    parser.add_argument("--to", type=Path, help="folder; below the folder of work without it")
    parser.add_argument(
        "--merged", action="store_true", help="whole weights, the adapter added into its base"
    )
    parser.add_argument("--hub", default="", help="also upload to OWNER/NAME, with HF_TOKEN")
    parser.add_argument(
        "--public", action="store_true", help="let everybody see a repository that is made now"
    )


def _name_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="a run, by its id or its label in quotes, or an experiment")


def _status_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        nargs="?",
        default="",
        help="a run, by its id or its label in quotes, or an experiment; without, what is worked "
        "on, or else the latest experiment",
    )
    parser.add_argument("--json", action="store_true", help="a JSON list, one object for each")
    parser.epilog = (
        "Exit status: 0 all is done, 1 something failed, 3 stopped or unfinished and nobody works "
        "on it, 4 work goes on; 2 a mistake in the command."
    )


def _logs_options(parser: argparse.ArgumentParser) -> None:
    _name_options(parser)
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on until it is over, across its drivers"
    )
    parser.add_argument("--lines", type=int, default=200, help="of each log at first (%(default)s)")


def _serve_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=8377, help="port to listen on (%(default)s)")
    parser.add_argument(
        "--idle",
        metavar="MINUTES",
        type=_minutes,
        default=30.0,
        help="let go of a model that was not asked for so long (%(default)g)",
    )
    parser.add_argument(
        "--replicas",
        metavar="MIN:MAX",
        help="answer on a Ray cluster, with as many replicas as questions need; 0:1 where "
        "RAY_ADDRESS is set",
    )


class _Command(NamedTuple):
    run: Callable[[argparse.Namespace, Console], int]
    add_options: Callable[[argparse.ArgumentParser], None]
    text: str


_COMMANDS = {
    "plan": _Command(
        _plan, _plan_options, "Show what an experiment would run and need; start nothing."
    ),
    "run": _Command(
        _run,
        _run_options,
        "Run all of an experiment that is not recorded yet. Safe to repeat.",
    ),
    "status": _Command(
        _status,
        _status_options,
        "Show how far runs are, who works on them, and what failed and why.",
    ),
    "stop": _Command(
        _stop,
        _name_options,
        "End a run, or all of an experiment; `retry` and `run` go on from its checkpoints.",
    ),
    "retry": _Command(
        _retry,
        _name_options,
        "Have the driver at work try again what failed or was stopped; no restart.",
    ),
    "logs": _Command(
        _logs, _logs_options, "Show what happened to runs, line by line; -f follows them."
    ),
    "results": _Command(
        _results,
        _results_options,
        "Show the scores, each with its interval and difference to its base.",
    ),
    "prepare": _Command(
        _prepare, _prepare_options, "Prepare one dataset and say what became of its rows."
    ),
    "new": _Command(
        _new, _new_options, "Make a recipe of a file of your own: look, propose, show, write."
    ),
    "import": _Command(
        _import, _import_options, "Judge and record answers that were made elsewhere."
    ),
    "rescore": _Command(
        _rescore,
        _rescore_options,
        "Judge stored answers again, under another contract; needs no GPU. Safe to repeat.",
    ),
    "export": _Command(
        _export,
        _export_options,
        "Write a run's weights, card and provenance to a folder or the hub.",
    ),
    "serve": _Command(
        _serve,
        _serve_options,
        "Serve bases and adapters over OpenAI's protocol, for the try-it page.",
    ),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs",
        description="Fine-tune code models, judge what they write, and keep every verdict.",
        epilog="Work lands in runs/ (CODELADDER_HOME); the database is SQLite there "
        "(CODELADDER_DATABASE_URL); Ray is started here (RAY_ADDRESS).",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in _COMMANDS.items():
        command.add_options(commands.add_parser(name, help=command.text, description=command.text))
    return parser


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is no number of minutes above 0")
    return minutes


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is no port; ports are 1 to 65535")
    return port


if __name__ == "__main__":
    sys.exit(main())
