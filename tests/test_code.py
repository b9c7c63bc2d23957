"""Where the program in a text is, for texts as models and people write them."""

import time

import pytest
from markdown_it import MarkdownIt

from jobs.data.code import blocks_of, code_in, code_of, parse
from jobs.data.row import Row

F = "def f(x):\n    return x + 1\n"
G = "def g(x):\n    return f(x)\n"

FOUND = {
    "a block": (f"So:\n```python\n{F}```\nend", F),
    "blocks that go together": (f"```py\n{F}```\nand\n```Python 3\n{G}```", f"{F}\n{G}"),
    "a block and its output": (f"```python\n{F}```\nOutput:\n```\nf of 1 is 2\n```", F),
    "a block and its output of one name": (f"```python\n{F}```\n```\nYes\n```", F),
    "a block and one of another language": (f"```js\nlet a\n```\n```python\n{F}```", F),
    "a block that says nothing": (f"```\n{F}```\nthen\n```\n$ ls -l\n```", F),
    "a block that says nothing beside one that does": (
        f"```python\n{F}```\n```\n{G}```",
        f"{F}\n{G}",
    ),
    "a block beside a broken one": (f"```python\n{F}```\n```python\ndef g(\n```", F),
    "DOS line ends": (f"So:\r\n```python\r\n{F}```\r\nend", F),
    "Mac line ends": ("So:\r```python\rx = f(1)\r```\rend", "x = f(1)\r"),
    "a block without an end": (f"So:\n```python\n{F}", F),
    "a block that the next begins in": (f"```python\n{F}```python\n{G}```", f"{F}\n{G}"),
    "a block in a list": (
        "1. So\n\n     ```python\n     def f(x):\n         return x + 1\n     ```\n",
        F,
    ),
    "tildes": (f"~~~python\n{F}~~~\n", F),
    "a longer fence": (f"````python\n{F}s = '''\n```\n'''\n````", f"{F}s = '''\n```\n'''\n"),
    "braces of Pandoc": (f"``` {{.python}}\n{F}```", F),
    "a body, as indented as it is": ("```python\n    return 1\n```", "    return 1\n"),
    "a broken block": ("```python\ndef f(\n```", "def f(\n"),
    "no fence": (F, F),
    "prose, then code": (f"Here it is.\n\n{F}", F),
    "prose around code": (f"It's this:\n\n{F}\nIt's done (mostly.", F),
    "prose around two pieces": (
        f"First\n{F}then this\n{G}and so on.",
        F + G,
    ),
    "code and a fence that ends it": (f"{F}```\n", F.rstrip()),
    "code before a block of output": (f"{F}\nOutput:\n```\nf of 1 is 2\n```", F),
    "decorators and classes": (
        "See:\n@cache\ndef f(): return 1\nclass A:\n    x = 1\nThat is all.",
        "@cache\ndef f(): return 1\nclass A:\n    x = 1",
    ),
    "prose": ("from there on it is easy.\nimport the rest, then go.", ""),
    "a word": ("Yes", ""),
    "another language": ("```js\nlet a = 1\n```", ""),
    "inline code": ("Use ```x = 1``` here.", ""),
}


@pytest.mark.parametrize("text, code", FOUND.values(), ids=FOUND)
def test_the_code_is_found_of(text, code):
    assert code_in(text).rstrip("\n") == code.rstrip("\n")


def test_a_program_with_a_fence_in_its_docstring_is_plain_code_as_a_whole():
    program = 'def f():\n    """Do.\n\n    ```\n    f()\n    ```\n    """\n    return 1\n'

    row = Row(instruction="", response=program, source="s", place="f:1", licence="MIT")

    assert code_of(row) == program


MARKDOWN = {
    "backticks": "a\n```python\nx\n```\nb\n```\ny\n\n```\n",
    "tildes": "~~~ py\nx\n```\ny\n~~~\n",
    "a longer fence": "````\n```\nx\n````\n",
    "a longer end": "```\nx\n`````\n",
    "no end": "```c\nx\ny\n",
    "inline": "```x```\n\ny\n",
    "an indented fence": "  ```py\n  x\n    y\n  ```\n",
}


@pytest.mark.parametrize("text", MARKDOWN.values(), ids=MARKDOWN)
def test_blocks_are_those_that_markdown_has(text):
    """Against markdown-it, which follows CommonMark."""
    fences = [token for token in MarkdownIt().parse(text) if token.type == "fence"]

    assert [(b.language, b.code) for b in blocks_of(text)] == [
        (token.info.strip(), token.content) for token in fences
    ]


@pytest.mark.parametrize("text", [text for text, _ in FOUND.values()], ids=FOUND)
def test_blocks_stand_where_they_say(text):
    blocks = blocks_of(text)

    assert [text[block.start : block.end] for block in blocks] == [b.text for b in blocks]


LONG = {
    "fences that are never closed": "```python\nx = 1\n",
    "fences of growing indentation": "    ```python\n",
    "blank lines": "\n",
    "lone carriage returns": "\r",
    "backticks": "`",
    "fences with spaces": "```   `\n",
    "definitions that are no Python": "def f(\n",
    "imports in prose": "import that\nand go.\n",
    "quotes": "def f(): '''\n'\n",
}


@pytest.mark.parametrize("piece", LONG.values(), ids=LONG)
def test_a_hundred_kilobytes_are_read_within_seconds(piece):
    """A second is what the parser takes for its few tries; a quadratic search takes minutes."""
    text = "Go\n```\n" + piece * (100_000 // len(piece))

    began = time.process_time()
    code_in(text)
    code_in(text.replace("```", "", 1))

    assert time.process_time() - began < 10


def test_what_is_found_in_prose_parses():
    text = "One\ndef f(x):\n    return x\nTwo\nclass A:\n    b = (1,\nThree\nimport os\nFour five"

    assert parse(code_in(text)) is not None
    assert code_in(text) == "def f(x):\n    return x\nimport os"
