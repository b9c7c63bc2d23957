"""The options of `python -m jobs import`."""

import argparse
from pathlib import Path

from jobs.declared import UserError
from jobs.imports.fields import parse_fields
from jobs.imports.formats import AUTO, FORMATS
from jobs.imports.reading import Import


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options and the files."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    shown = "\n".join(f"  {name:15}{form.text}" for name, form in FORMATS.items())
    parser.epilog = f"formats, each plain or as .gz:\n{shown}"
    parser.add_argument(
        "--format",
        metavar="NAME",
        default=AUTO,
        help="of the files, see below; told by the first record without it",
    )
    parser.add_argument(
        "--benchmark",
        default="",
        help="a recipe's name: humaneval, mbpp, starter ...; none for a training's curve",
    )
    parser.add_argument("--name", required=True, help="what to call whoever made the answers")
    parser.add_argument(
        "--verdicts",
        type=Path,
        metavar="FILE",
        help="the publisher's verdicts; of evalplus found beside the samples without it",
    )
    parser.add_argument(
        "--fields",
        default="",
        metavar="NAME=PLACE,...",
        help="where a record has what: task_id=doc.id,solution=code,passed=is_solved; also "
        "completion, prompt, said",
    )
    parser.add_argument(
        "--published",
        action="append",
        default=[],
        metavar="pass@K=FRACTION",
        help="a score that was published of these answers, kept beside ours; may be repeated",
    )
    parser.add_argument("--source", default="", help="where it was published")
    parser.add_argument(
        "--preamble", metavar="NAME", help="judge with this preamble, not with the recipe's"
    )
    parser.add_argument(
        "--extract", metavar="NAME", help="find programs in this way, not in the recipe's"
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="allow problems without an answer: the score is over the others",
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")


def order_of(asked: argparse.Namespace) -> Import:
    """What was asked for.

    Raises:
        UserError: a mapping or a published score that cannot be read.
    """
    return Import(
        files=tuple(asked.files),
        name=asked.name,
        benchmark=asked.benchmark,
        format=asked.format,
        verdicts=asked.verdicts,
        fields=parse_fields(asked.fields) if asked.fields else {},
        published=dict(published_score(text) for text in asked.published),
        source=asked.source,
        preamble=asked.preamble,
        extract=asked.extract,
        partial=asked.partial,
    )


def published_score(text: str) -> tuple[str, float]:
    """`pass@1=0.223` as a metric and a fraction.

    Raises:
        UserError: it is something else.
    """
    metric, _, value = text.partition("=")
    k = metric.removeprefix("pass@")
    try:
        fraction = float(value)
    except ValueError:
        fraction = -1.0
    if not (metric.startswith("pass@") and k.isdecimal() and int(k) > 0 and 0 <= fraction <= 1):
        raise UserError(f"--published {text!r} is no score; write one as pass@1=0.223")
    return metric, fraction
