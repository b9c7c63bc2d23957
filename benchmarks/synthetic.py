"""Synthetic rows with near copies hidden among them: Python functions from seeded templates.

Any row can be made by itself from its number, so a million of them need no memory. A row is a
question of one sentence and a function of 300 to 800 characters; names, docstring, constants and
the choice of its steps are drawn. One row in ten is a copy of an earlier one with one to three
small edits.
"""

import json
import random
import re
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

from jobs.data.row import SHARD_ROWS, Row, write_rows

SEED = 20261201
COPY_EVERY = 10


def _listed(words: str) -> list[str]:
    return words.split()


_ADJECTIVES = _listed("""
active ancient annual average basic binary bright broken central circular clean
common complex current daily deep dense direct double early empty even exact external fast final
first fixed flat fresh full global great hidden idle inner large last late lazy linear local long
loose main merged minor mixed modern native nested noisy normal odd open outer partial plain prime
private public quick random rare raw recent regular remote robust rough round safe sharp short
silent simple single small smooth sparse stable static steady strict strong sorted total unique
upper valid visible warm weighted whole wide young""")
_NOUNS = _listed("""
account address album angle anchor arrow article asset badge balance basket batch bill
block board bottle branch bridge bucket budget buffer button cable camera candle canvas card cargo
carton cell chain channel chapter charge client clock cloud coin column comment contract corner
country course credit cursor customer deck delivery deposit desk device digit district document
door draft driver edge editor engine entry envelope event factory field figure file filter flag
flight folder forest frame garden gate grade graph grid group harbour header hotel house image
index invoice island item journey key kitchen label lamp layer leaf ledger lesson letter level
library light line link list lock machine map margin market marker matrix meal member message
meter method mirror model month mountain movie node note number object offer office order owner
packet page panel parcel parent part path patient payment pixel place planet plate player point
portal price product profile project pulse queue quote rating reader record region report request
reward river road room root route row rule sample scale schedule school score screen season
section sector sensor server session shelf ship shop signal size sketch slice slot song source
span spring stack stage station step stock stone store story street student table tag target task
team temperature tender terminal ticket tile timer token tower track trade train tree trip tunnel
unit user value vector vehicle version village visit voice volume wallet water wave week wheel
window winner word worker zone""")
_VERBS = _listed("""
adjust allocate append apply arrange balance blend bundle calculate choose classify
collect combine compare compose compress convert count crop decode derive detect divide draw
encode estimate expand extract fetch filter find fold format gather generate group index inspect
invert join limit locate map mark measure merge move normalise order pack pair parse partition
pick plan predict project prune rank rate read rebuild reduce refine remove render repeat replace
resolve restore reverse rotate round sample scan schedule score select shift shuffle smooth sort
split stack store sum swap trace track transform trim tune unpack update validate weigh""")

_STEPS = """
    {a} = [{x} for {x} in {s} if {x} % {n} != {m}]|
    {a} = sorted({s}, key=lambda {x}: ({x} % {n}, -{x}))|
    {a} = {{{x}: {x} * {n} + {m} for {x} in {s}}}|
    for {x} in {s}:
        if {x} > {n}:
            {t} += {x} - {m}|
    for {i}, {x} in enumerate({s}):
        {t} = max({t}, {x} * {i} - {n})|
    while {t} > {n}:
        {t} //= {m} + 2|
    {a} = set({s}) - {{{n}, {m}}}|
    if len({s}) < {n}:
        return {m}|
    {a} = list(zip({s}, {s}[{m}:]))|
    {t} = sum(abs({x} - {n}) for {x} in {s}) // {m}|
    {a} = "".join(chr({n} + {x} % {m}) for {x} in {s})|
    try:
        {t} = {s}.index({n})
    except ValueError:
        {t} = -{m}|
    {a} = [{s}[{i}] ^ {n} for {i} in range(0, len({s}), {m})]|
    {t} = {t} ** 2 % {n} if {t} else {m}|
    {a} = max({s}, default={n}) - min({s}, default={m})|
    for {i} in range({m}, {n}):
        {t} += {i} * len({s})
        if {t} > {n} * {m}:
            break|
    {a} = dict.fromkeys({s}, {n})
    {a}[{m}] = {t}|
    {s} = [{x} for {x} in reversed({s}) if {x} not in ({n}, {m})]|
    {a} = any({x} == {n} for {x} in {s}) and all({x} < {m} for {x} in {s})|
    {t} += {s}.count({n}) - {s}.count({m})|
    {a}, {b} = divmod({t} + {n}, {m})|
    if {t} % {n} == {m}:
        {s}.append({t})
    else:
        {s}.pop()
""".strip("\n").split("|\n")
_NAME = re.compile(r"\b[a-z]+_[a-z]+\b")
_NUMBER = re.compile(r"\b\d+\b")


def is_copy(number: int) -> bool:
    """Whether the row is a planted near copy."""
    return number % COPY_EVERY == COPY_EVERY - 1


def original(number: int) -> int:
    """The row that a planted copy is a copy of; itself no copy."""
    chosen = random.Random(f"{SEED} original {number}").randrange(number)
    return chosen - 1 if is_copy(chosen) else chosen


def question_and_answer(number: int) -> tuple[str, str]:
    """Instruction and response of one row."""
    if not is_copy(number):
        return _drawn(random.Random(f"{SEED} {number}"))
    question, answer = question_and_answer(original(number))
    chance = random.Random(f"{SEED} edits {number}")
    for _ in range(chance.randint(1, 3)):
        question, answer = chance.choice(_EDITS)(question, answer, chance)
    return question, answer


def write_all(size: int, folder: Path, workers: int) -> None:
    """The first `size` rows, three times.

    `shards/00000.parquet` ...: rows as ours read them. `texts/0.jsonl` ...: `id` and `text`, one
    file a worker. `rows.jsonl`: `instruction` and `response`.
    """
    for name in ("shards", "texts", "records"):
        (folder / name).mkdir(parents=True)
    shards = range(0, size, SHARD_ROWS)
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(partial(_write_shard, size=size, folder=folder), shards))
    records = [folder / "records" / f"{first}" for first in shards]
    _join(records, folder / "rows.jsonl")
    _deal(records, folder / "texts", workers, size)


def _write_shard(first: int, size: int, folder: Path) -> None:
    numbers = range(first, min(first + SHARD_ROWS, size))
    drawn = [question_and_answer(number) for number in numbers]
    rows = [
        Row(instruction=asked, response=answer, source="synthetic", place=f"{n}", licence="CC0-1.0")
        for n, (asked, answer) in zip(numbers, drawn, strict=True)
    ]
    write_rows(rows, folder / "shards" / f"{first // SHARD_ROWS:05}.parquet")
    with (folder / "records" / f"{first}").open("w") as records:
        for asked, answer in drawn:
            records.write(json.dumps({"instruction": asked, "response": answer}) + "\n")


def _join(pieces: Iterable[Path], path: Path) -> None:
    with path.open("wb") as whole:
        for piece in pieces:
            whole.write(piece.read_bytes())


def _deal(pieces: Iterable[Path], folder: Path, workers: int, rows: int) -> None:
    """As many texts to each worker as to the others."""
    lines = (line for piece in pieces for line in piece.read_text().splitlines())
    numbered = enumerate(map(json.loads, lines))
    for worker in range(workers):
        with (folder / f"{worker}.jsonl").open("w") as texts:
            for number, record in islice(numbered, -(-rows // workers)):
                text = f"{record['instruction']}\n\n{record['response']}"
                texts.write(json.dumps({"id": f"{number}", "text": text}) + "\n")


def _drawn(chance: random.Random) -> tuple[str, str]:
    def name() -> str:
        return f"{chance.choice(_ADJECTIVES)}_{chance.choice(_NOUNS)}"

    def words(count: int) -> str:
        return " ".join(chance.choice(chance.choice((_ADJECTIVES, _NOUNS))) for _ in range(count))

    function = f"{chance.choice(_VERBS)}_{name()}"
    given, total = name(), name()
    lines = [f"def {function}({given}, {total}={chance.randrange(100)}):"]
    lines.append(f'    """{chance.choice(_VERBS).title()} the {words(6)} of the {words(4)}."""')
    size, wanted = 0, chance.randint(120, 480)
    while size < wanted:
        step = chance.choice(_STEPS).format(
            a=name(),
            b=name(),
            x=name(),
            i=name(),
            s=given,
            t=total,
            n=chance.randint(2, 999),
            m=chance.randint(2, 99),
        )
        lines.append(step)
        size += len(step)
    lines.append(f"    return {total}")
    asked = f"Write a function {function} to {chance.choice(_VERBS)} the {words(5)} by {words(3)}."
    return asked, "\n".join(lines) + "\n"


def _edit_constant(question: str, answer: str, chance: random.Random) -> tuple[str, str]:
    found = chance.choice(list(_NUMBER.finditer(answer)))
    before, after = answer[: found.start()], answer[found.end() :]
    return question, f"{before}{chance.randrange(1000, 9999)}{after}"


def _add_comment(question: str, answer: str, chance: random.Random) -> tuple[str, str]:
    lines = answer.split("\n")
    lines.insert(chance.randrange(2, len(lines)), f"    # {chance.choice(_VERBS)} it")
    return question, "\n".join(lines)


def _rename(question: str, answer: str, chance: random.Random) -> tuple[str, str]:
    names = sorted({found for found in _NAME.findall(answer) if answer.count(found) <= 3})
    if not names:
        return question, answer
    return question, answer.replace(chance.choice(names), f"new_{chance.choice(_NOUNS)}")


def _reformat(question: str, answer: str, chance: random.Random) -> tuple[str, str]:
    del chance
    return question, answer.replace("    ", "\t").replace(" == ", "==").replace(", ", ",")


def _reword(question: str, answer: str, chance: random.Random) -> tuple[str, str]:
    words = question.split(" ")
    words[chance.randrange(5, len(words))] = chance.choice(_NOUNS)
    return " ".join(words), answer


_EDITS = (_edit_constant, _add_comment, _rename, _reformat, _reword)
