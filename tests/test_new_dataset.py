"""From a person's own file to a recipe; files are in the schemas that their authors publish."""

import csv
import gzip
import hashlib
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console

from jobs.__main__ import main
from jobs.data.recipe import DatasetRecipe
from jobs.data.row import Row
from jobs.data.sources import read_source
from jobs.declared import UserError
from jobs.new_dataset import new_dataset
from jobs.prompts import alpaca
from jobs.recipes import read_recipe

ADD = "def add(a, b):\n    return a + b"
SQUARE = "```python\ndef square(n):\n    return n * n\n```"
ASKED, ASKED_TOO = "Write a function that adds two numbers.", "How do I square a number?"


@pytest.fixture
def recipes(tmp_path):
    """A folder of recipes of its own."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    return folder


@pytest.fixture
def make(recipes):
    """Make a recipe of a file; its text on the screen, and the recipe read back."""

    def made(file, name=""):
        screen = io.StringIO()
        path = new_dataset(file, name, Console(file=screen, width=80), recipes)
        return screen.getvalue(), read_recipe(DatasetRecipe, recipes, path.stem)

    return made


def lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def source_of(recipe):
    (source,) = recipe.sources.values()
    return source


# The columns are those of tests/test_recipes_published.py, which says where each was read, of
# ShareGPT's and OpenAI's chats, and some that nobody publishes.
PUBLISHED = {
    "CodeAlpaca": (
        {"instruction": ASKED, "input": "", "output": ADD},
        {"instruction": "instruction", "input": "input", "response": "output"},
        "sure",
    ),
    "Evol-Instruct-Code": (
        {"instruction": ASKED, "output": SQUARE},
        {"instruction": "instruction", "response": "output"},
        "sure",
    ),
    "OSS-Instruct": (
        {
            "lang": "python",
            "raw_index": 3,
            "index": 4,
            "seed": ADD,
            "openai_fingerprint": "fp",
            "problem": ASKED,
            "solution": SQUARE,
        },
        {"instruction": "problem", "response": "solution"},
        "sure",
    ),
    "self-OSS-instruct": (
        {
            "fingerprint": None,
            "sha1": "0",
            "seed": ADD,
            "response": SQUARE,
            "concepts": ["sums"],
            "prompt": "# a prompt with examples",
            "instruction": ASKED,
            "id": 1,
        },
        {"instruction": "instruction", "response": "response"},
        "sure",
    ),
    "prompt and completion": (
        {"prompt": ASKED, "completion": ADD},
        {"instruction": "prompt", "response": "completion"},
        "sure",
    ),
    "names in other cases": (
        {"Question": ASKED, "Code": ADD, "Context": "two numbers"},
        {"instruction": "Question", "response": "Code", "input": "Context"},
        "likely",
    ),
    "tests beside": (
        {"instruction": ASKED, "response": ADD, "tests": ["assert add(1, 2) == 3"]},
        {"instruction": "instruction", "response": "response", "tests": "tests"},
        "sure",
    ),
    "names nobody knows": (
        {"id": "q-17", "aufgabe": ASKED, "loesung": ADD, "autor": "somebody"},
        {"instruction": "aufgabe", "response": "loesung"},
        "a guess",
    ),
    "ShareGPT": (
        {
            "id": "1",
            "conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ADD}],
        },
        {"messages": "conversations"},
        "sure",
    ),
    "OpenAI's chat": (
        {"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ADD}]},
        {"messages": "messages"},
        "sure",
    ),
    "code alone": ({"path": "a.py", "text": ADD}, {"response": "text"}, "a guess"),
}


@pytest.mark.parametrize("record, mapping, sure", PUBLISHED.values(), ids=PUBLISHED)
def test_the_columns_are_found_in(tmp_path, make, record, mapping, sure):
    screen, recipe = make(lines(tmp_path / "mine.jsonl", record, record))

    assert source_of(recipe).mapping.mapped() == mapping
    assert f"read as format 'fields' ({sure})" in screen
    assert recipe.prompt == ("plain" if set(mapping) == {"response"} else "alpaca")


FILES = [
    ("bench", "mbpp.jsonl", "mbpp", 974),
    ("custom", "exercism_python.jsonl.gz", "exercism", 140),
]


@pytest.mark.parametrize("folder, name, form, rows", FILES, ids=[name for _, name, _, _ in FILES])
def test_a_published_file_is_known_by_its_columns(published, make, folder, name, form, rows):
    screen, recipe = make(published / folder / name, "known")

    assert source_of(recipe).format == form
    assert f"{rows:,} rows" in screen


RECORDS = [
    {"instruction": ASKED, "input": "1, 2", "output": ADD},
    {"instruction": ASKED_TOO, "input": "", "output": SQUARE},
]


def as_csv(path):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, RECORDS[0])
        writer.writeheader()
        writer.writerows(RECORDS)


def as_zst(path):
    with pa.output_stream(str(path), compression="zstd") as file:
        file.write("".join(json.dumps(record) + "\n" for record in RECORDS).encode())


KINDS = {
    "mine.jsonl": lambda path: lines(path, *RECORDS),
    "mine.json": lambda path: path.write_text(json.dumps(RECORDS, indent=1)),
    "mine.csv": as_csv,
    "mine.parquet": lambda path: pq.write_table(pa.Table.from_pylist(RECORDS), path),
    "mine.json.gz": lambda path: path.write_bytes(gzip.compress(json.dumps(RECORDS).encode())),
    "mine.jsonl.zst": as_zst,
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_gives_the_rows_that_the_recipe_reads(tmp_path, make, recipes, name):
    KINDS[name](tmp_path / name)
    screen, recipe = make(tmp_path / name)

    source = source_of(recipe)
    assert source.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    rows = list(read_source("mine", source, recipes))
    assert all(isinstance(row, Row) for row in rows)
    assert [(row.instruction, row.input, row.response) for row in rows] == [
        tuple(record.values()) for record in RECORDS
    ]
    assert "2 rows, 1 with input" in screen


def test_rows_are_shown_exactly_as_a_model_sees_them(tmp_path, make):
    screen, _ = make(lines(tmp_path / "mine.jsonl", *RECORDS, *RECORDS))

    first, second = RECORDS
    assert alpaca(first["instruction"], first["input"]) + ADD in screen
    assert alpaca(second["instruction"]) + SQUARE in screen
    assert screen.count("as a model sees it") == 3


def test_markup_of_a_terminal_in_a_row_is_shown_not_obeyed(tmp_path, make):
    record = {"instruction": "Print [bold]x[/bold] :smile:\t\x1b[2J", "output": "print('[red]')"}
    screen, _ = make(lines(tmp_path / "mine.jsonl", record))

    assert "Print [bold]x[/bold] :smile:\t\\x1b[2J" in screen
    assert "\x1b" not in screen


def test_what_cannot_be_read_is_counted_with_its_first_place(tmp_path, make):
    path = lines(tmp_path / "mine.jsonl", *RECORDS, {"instruction": ASKED, "output": ""})
    path.write_text(path.read_text() + "{broken\n" + json.dumps(RECORDS[0] | {"output": ADD * 99}))
    screen, _ = make(path)

    assert "3 rows" in screen
    assert "left out, empty: 1, first mine.jsonl:3" in screen
    assert "left out, not_json: 1, first mine.jsonl:4" in screen
    longest = len(ASKED) + len("1, 2") + len(ADD * 99)
    assert f"longest: {longest:,} characters, mine.jsonl:5" in screen


def test_the_licence_is_left_to_the_person(tmp_path, make, recipes):
    screen, recipe = make(lines(tmp_path / "My File (2).jsonl", *RECORDS))

    assert source_of(recipe).licence == "LicenseRef-unknown"
    assert (
        "licence: LicenseRef-unknown  # its SPDX name goes here"
        in (recipes / "my-file-2.yaml").read_text()
    )
    assert "python -m jobs prepare" in screen.splitlines()[-4]


def test_a_file_below_the_data_folder_is_named_without_its_place(
    tmp_path, make, recipes, monkeypatch
):
    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    lines(data / "sub" / "mine.jsonl", *RECORDS)
    monkeypatch.setenv("CODELADDER_DATA", str(data))
    screen, recipe = make(data / "sub" / "mine.jsonl")

    assert source_of(recipe).file == "sub/mine.jsonl"
    assert "by its place on this machine" not in screen
    assert len(list(read_source("mine", source_of(recipe), recipes))) == 2


def test_a_file_elsewhere_is_named_by_its_place_and_that_is_said(tmp_path, make):
    path = lines(tmp_path / "mine.jsonl", *RECORDS)
    screen, recipe = make(path)

    assert source_of(recipe).file == str(path)
    assert "by its place on this machine" in screen


def test_a_recipe_that_is_there_is_never_written_over(tmp_path, make, recipes):
    (recipes / "mine.yaml").write_text("mine")

    with pytest.raises(UserError, match=r"mine.yaml is there already.*--name"):
        make(lines(tmp_path / "mine.jsonl", *RECORDS))
    assert (recipes / "mine.yaml").read_text() == "mine"
    assert len(list(recipes.iterdir())) == 1


@pytest.mark.parametrize("name", ["yes", "null", "1", "12e4", "a.b"])
def test_a_name_that_yaml_reads_otherwise_stays_a_name(tmp_path, make, recipes, name):
    make(lines(tmp_path / "mine.jsonl", *RECORDS), name)

    assert list(yaml.safe_load((recipes / f"{name}.yaml").read_text())["sources"]) == [name]


MISTAKES = {
    "no such file": ("min.jsonl", None, "Did you mean 'mine.jsonl'?"),
    "a kind nobody reads": ("mine.txt", "x", "what is in it does not follow from its name"),
    "nothing in it": ("mine.json", "[]", "none of its first 500 records"),
    "no answer": ("mine.json", '[{"a": 1, "b": "x"}]', "a: no text but int"),
    "a folder": (".", None, "is a folder"),
    "nothing to learn": (
        "mine.json",
        json.dumps([{"instruction": "", "output": "x = 1"}, {"instruction": "y", "output": ""}]),
        "it has no row",
    ),
}


@pytest.mark.parametrize("name, text, told", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_and_nothing_is_written(tmp_path, make, recipes, name, text, told):
    lines(tmp_path / "mine.jsonl", *RECORDS)
    if text is not None:
        (tmp_path / name).write_text(text)

    with pytest.raises(UserError) as raised:
        make(tmp_path / name, "new")
    assert told in str(raised.value)
    assert list(recipes.iterdir()) == []


def test_the_command_makes_a_recipe_and_ends_with_2_where_there_is_one(
    tmp_path, recipes, monkeypatch, capsys
):
    monkeypatch.setattr("jobs.new_dataset.TRAIN", recipes)
    path = lines(tmp_path / "mine.jsonl", *RECORDS)

    assert main(["new", "dataset", str(path), "--name", "ours"]) == 0
    assert source_of(read_recipe(DatasetRecipe, recipes, "ours")).file == str(path)
    assert main(["new", "dataset", str(path), "--name", "ours"]) == 2
    assert "ours.yaml is there already" in capsys.readouterr().err
