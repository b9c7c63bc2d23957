"""The command line: `python -m jobs COMMAND --help` tells of each.

A command selects a file; no option changes a result. The user's mistakes end with status 2 and no
traceback; ours keep it.
"""

import argparse
import contextlib
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from rich.console import Console
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from cluster.ending import TerminatedError
from cluster.keeping import CRASHED, ended_by_itself
from cluster.session import ClusterError
from database.address import AWAY, LedgerAwayError
from database.patience import is_passing, said_by
from database.session import LedgerError
from eval_sandbox.sandbox import SandboxUnavailable
from jobs import arguments
from jobs.declared import UserError
from jobs.judge import SandboxFailedError

LOG_WIDTH = 140
"""Columns of a table where no terminal says how many it has."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    status = _outcome(words)
    ended_by_itself()
    return status


def _outcome(words: Sequence[str] | None) -> int:
    asked = _parser().parse_args(words)
    console = Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    try:
        return _COMMANDS[asked.command].run(asked, console)
    except LedgerAwayError as error:
        return _away(str(error))
    except (UserError, LedgerError, ClusterError, SandboxUnavailable) as error:
        print(error, file=sys.stderr)
        return 2
    except SandboxFailedError as error:
        print(f"Nothing was recorded: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130
    except TerminatedError:
        print("Told to end. The same command goes on from here.", file=sys.stderr)
        return 128 + signal.SIGTERM
    except DBAPIError as error:
        if not is_passing(error):
            traceback.print_exc()
            return CRASHED
        return _away(said_by(error))
    except Exception:
        traceback.print_exc()
        return CRASHED


def _away(why: str) -> int:
    print(f"The database is away, and the same command goes on later: {why}", file=sys.stderr)
    return AWAY


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


def _archive(asked: argparse.Namespace, console: Console) -> int:
    from jobs.archive import archive

    archive(asked.run, asked.to, console)
    return 0


def _restore(asked: argparse.Namespace, console: Console) -> int:
    from jobs.archive import restore

    restore(asked.file, console)
    return 0


def _serve(asked: argparse.Namespace, console: Console) -> int:
    from jobs.serve import serve
    from jobs.serving.engine import Room
    from jobs.serving.replicas import Scale

    scale = Scale.read(asked.replicas) if asked.replicas else None
    serve(asked.host, asked.port, Room(idle=60 * asked.idle), scale)
    return 0


class _Command(NamedTuple):
    run: Callable[[argparse.Namespace, Console], int]
    add_options: Callable[[argparse.ArgumentParser], None]
    text: str


_COMMANDS = {
    "plan": _Command(
        _plan, arguments.plan_options, "Show what an experiment would run and need; start nothing."
    ),
    "run": _Command(
        _run,
        arguments.run_options,
        "Run all of an experiment that is not recorded yet. Safe to repeat.",
    ),
    "status": _Command(
        _status,
        arguments.status_options,
        "Show how far runs are, who works on them, and what failed and why.",
    ),
    "stop": _Command(
        _stop,
        arguments.name_options,
        "End a run, or all of an experiment; `retry` and `run` go on from its checkpoints.",
    ),
    "retry": _Command(
        _retry,
        arguments.name_options,
        "Have the driver at work try again what failed or was stopped; no restart.",
    ),
    "logs": _Command(
        _logs, arguments.logs_options, "Show what happened to runs, line by line; -f follows them."
    ),
    "results": _Command(
        _results,
        arguments.results_options,
        "Show the scores, each with its interval and difference to its base.",
    ),
    "prepare": _Command(
        _prepare, arguments.prepare_options, "Prepare one dataset and say what became of its rows."
    ),
    "new": _Command(
        _new,
        arguments.new_options,
        "Make a recipe of a file of your own: look, propose, show, write.",
    ),
    "import": _Command(
        _import, arguments.import_options, "Judge and record answers that were made elsewhere."
    ),
    "rescore": _Command(
        _rescore,
        arguments.rescore_options,
        "Judge stored answers again, under another contract; needs no GPU. Safe to repeat.",
    ),
    "export": _Command(
        _export,
        arguments.export_options,
        "Write a run's weights, card and provenance to a folder or the hub.",
    ),
    "archive": _Command(
        _archive,
        arguments.archive_options,
        "Write a run, with everything it rests on, into one file.",
    ),
    "restore": _Command(
        _restore,
        arguments.restore_options,
        "Bring a run from such a file into this installation. Safe to repeat.",
    ),
    "serve": _Command(
        _serve,
        arguments.serve_options,
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


if __name__ == "__main__":
    sys.exit(main())
