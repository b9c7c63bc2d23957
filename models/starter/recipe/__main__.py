"""Command line: `python -m models.starter.recipe {data,tokenizer,pretrain,cards,all}`."""

import argparse
import time
from pathlib import Path

from tokenizers import Tokenizer

from models.starter.recipe import problems
from models.starter.recipe.architectures import ARCHITECTURES
from models.starter.recipe.cards import save_record, write_card
from models.starter.recipe.corpus import LIBRARY_SHARE
from models.starter.recipe.pretrain import PLANS, pretrain
from models.starter.recipe.tokenizer import save_tokenizer, train_tokenizer

MODELS = Path("models/starter")


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


def make_data(out: Path) -> None:
    """Write the training rows and the benchmark."""
    rows, count = problems.save(out)
    say(f"data: {rows:,} training rows, {count} problems")


def make_tokenizer(out: Path, names: list[str]) -> None:
    """Train the tokenizer and put it into every model's folder."""
    tokenizer = train_tokenizer()
    for name in names:
        save_tokenizer(tokenizer, out / MODELS / name)
    say(f"tokenizer: {tokenizer.get_vocab_size():,} tokens")


def make_models(out: Path, names: list[str]) -> None:
    """Pretrain the models one after another."""
    for name in names:
        folder = out / MODELS / name
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        save_record(pretrain(name, tokenizer, folder, say, plan=PLANS[name]), folder)


def make_cards(out: Path, names: list[str]) -> None:
    """Write the cards from what lies in the folders."""
    for name in names:
        write_card(name, out / MODELS, LIBRARY_SHARE)
        say(f"card: {out / MODELS / name / 'README.md'}")


def main() -> None:
    """Rebuild the starter data and models, or a part of them, from the seed."""
    parser = argparse.ArgumentParser(
        prog="python -m models.starter.recipe", description=main.__doc__
    )
    parser.add_argument("part", choices=("data", "tokenizer", "pretrain", "cards", "all"))
    parser.add_argument(
        "--model", choices=tuple(ARCHITECTURES), help="one model instead of all three"
    )
    parser.add_argument(
        "--out", type=Path, default=Path(), help="folder to write below; the current one by default"
    )
    chosen = parser.parse_args()
    names = [chosen.model] if chosen.model else list(ARCHITECTURES)
    began = time.monotonic()
    if chosen.part in ("data", "all"):
        make_data(chosen.out)
    if chosen.part in ("tokenizer", "all"):
        make_tokenizer(chosen.out, names)
    if chosen.part in ("pretrain", "all"):
        make_models(chosen.out, names)
    if chosen.part in ("cards", "all"):
        make_cards(chosen.out, names)
    say(f"done in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
