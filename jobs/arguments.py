"""What the commands of `python -m jobs` take on their line."""

import argparse
from pathlib import Path


def plan_options(parser: argparse.ArgumentParser) -> None:
    """What `plan` takes."""
    parser.add_argument("experiment", type=Path, help="for instance experiments/starter.yaml")


def run_options(parser: argparse.ArgumentParser) -> None:
    """What `run` takes."""
    plan_options(parser)
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


def results_options(parser: argparse.ArgumentParser) -> None:
    """What `results` takes."""
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


def prepare_options(parser: argparse.ArgumentParser) -> None:
    """What `prepare` takes."""
    parser.add_argument("recipe", type=Path, help="for instance datasets/train/starter.yaml")
    parser.add_argument(
        "--experiment",
        type=Path,
        help="keep the benchmarks of this experiment out of it, as its runs do; otherwise all that "
        "are here",
    )


def new_options(parser: argparse.ArgumentParser) -> None:
    """What `new` takes."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    text = "Look at a file of rows to train on, show three as a model sees them, write a recipe."
    dataset = kinds.add_parser("dataset", help=text, description=text)
    dataset.add_argument("file", type=Path, help=".jsonl, .json, .csv or .parquet; also .gz, .zst")
    dataset.add_argument("--name", default="", help="of the recipe; the file's own without it")


def import_options(parser: argparse.ArgumentParser) -> None:
    """What `import` takes."""
    from jobs.imports.options import add_options

    add_options(parser)


def rescore_options(parser: argparse.ArgumentParser) -> None:
    """What `rescore` takes."""
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


def export_options(parser: argparse.ArgumentParser) -> None:
    """What `export` takes."""
    parser.add_argument("run", help="its id, or its label in quotes")
    parser.add_argument("--to", type=Path, help="folder; below the folder of work without it")
    parser.add_argument(
        "--merged", action="store_true", help="whole weights, the adapter added into its base"
    )
    parser.add_argument("--hub", default="", help="also upload to OWNER/NAME, with HF_TOKEN")
    parser.add_argument(
        "--public", action="store_true", help="let everybody see a repository that is made now"
    )


def archive_options(parser: argparse.ArgumentParser) -> None:
    """What `archive` takes."""
    parser.add_argument("run", help="its id, or its label in quotes")
    parser.add_argument("--to", type=Path, required=True, help="the file to write: NAME.tar.zst")


def restore_options(parser: argparse.ArgumentParser) -> None:
    """What `restore` takes."""
    parser.add_argument("file", type=Path, help="that `archive` wrote, here or elsewhere")


def name_options(parser: argparse.ArgumentParser) -> None:
    """What `stop` and `retry` take."""
    parser.add_argument("name", help="a run, by its id or its label in quotes, or an experiment")


def status_options(parser: argparse.ArgumentParser) -> None:
    """What `status` takes."""
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


def logs_options(parser: argparse.ArgumentParser) -> None:
    """What `logs` takes."""
    name_options(parser)
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on until it is over, across its drivers"
    )
    parser.add_argument("--lines", type=int, default=200, help="of each log at first (%(default)s)")


def serve_options(parser: argparse.ArgumentParser) -> None:
    """What `serve` takes."""
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
