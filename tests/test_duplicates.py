"""Which rows count as the same, and which of them stays; the oracle compares every pair."""

import contextlib
import itertools
import math
import multiprocessing
import random
import re
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.data import duplicates
from jobs.data.crew import Alone
from jobs.data.duplicates import Duplicates, Shingle, find_duplicates, sketch, write_sketch
from jobs.data.minhash import band_keys, best_banding
from jobs.data.row import Row
from jobs.data.shingles import Sets, shingle_sets
from jobs.data.similar import left_out

WORDS = [f"word{n}" for n in range(2_000)]
SPEC = Duplicates()


def row(response, instruction="Do it.", **rest):
    rest = {"source": "s", "place": "f:1", "licence": "MIT"} | rest
    return Row(instruction=instruction, response=response, **rest)


def text_of(chance, words=80):
    return " ".join(chance.choice(WORDS) for _ in range(words))


def edited(text, edits, chance):
    words = text.split(" ")
    for place in chance.sample(range(len(words)), edits):
        words[place] = chance.choice(WORDS)
    return " ".join(words)


def search(rows, folder, spec=SPEC, run=None, size=100, **rest):
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for first in range(0, len(rows), size):
        files.append(folder / f"{first}.parquet")
        write_sketch(sketch(rows[first : first + size], first, spec), files[-1])
    return find_duplicates(files, spec, folder / "found", run or Alone().run, **rest)


def found(*args, **kwargs):
    return pq.read_table(search(*args, **kwargs)).to_pylist()


def pairs(*args, **kwargs):
    return {(pair["left_out"], pair["kept"]) for pair in found(*args, **kwargs)}


def true_shingles(one, kind="words", size=3):
    text = f"{one.instruction}\n{one.input}\n{one.response}"
    tokens = re.findall(r"\w+|[^\w\s]", text) if kind == "words" else " ".join(text.split())
    return {tuple(tokens[i : i + size]) for i in range(max(1, len(tokens) - size + 1))}


def jaccard(one, other):
    return len(one & other) / len(one | other)


@pytest.fixture(scope="module")
def mixed_rows():
    """300 texts; two in three have a copy with up to eight words changed, so from 1.0 to 0.45."""
    chance = random.Random(7)
    rows = []
    for n in range(300):
        text = text_of(chance)
        rows.append(row(text))
        if n % 3:
            rows.append(row(edited(text, n % 9, chance)))
    chance.shuffle(rows)
    return rows


@pytest.mark.parametrize("kind, size", [("words", 3), ("words", 1), ("characters", 5)])
def test_every_pair_is_as_similar_as_it_says(mixed_rows, tmp_path, kind, size):
    spec = Duplicates(shingle=Shingle(kind=kind, size=size))
    sets = [true_shingles(one, kind, size) for one in mixed_rows]

    listed = found(mixed_rows, tmp_path, spec)

    assert len(listed) > 50
    for pair in listed:
        true = jaccard(sets[pair["left_out"]], sets[pair["kept"]])
        assert pair["similarity"] == pytest.approx(true)
        assert true >= spec.threshold


@pytest.mark.parametrize("threshold", [0.6, 0.7, 0.8, 0.9])
def test_as_many_pairs_are_found_as_the_s_curve_predicts(mixed_rows, tmp_path, threshold):
    spec = Duplicates(threshold=threshold)
    sets = [true_shingles(one) for one in mixed_rows]
    alike = {
        pair: similarity
        for pair in itertools.combinations(range(len(sets)), 2)
        if (similarity := jaccard(sets[pair[0]], sets[pair[1]])) >= threshold
    }
    chances = [1 - (1 - s**spec.banding.values) ** spec.banding.bands for s in alike.values()]
    spread = math.sqrt(sum(chance * (1 - chance) for chance in chances))

    listed = {tuple(sorted(pair)) for pair in pairs(mixed_rows, tmp_path, spec)}

    assert listed <= alike.keys()
    assert len(listed) >= sum(chances) - 2 * spread - 1
    assert len(listed) >= 0.95 * len(alike)


@pytest.mark.parametrize("similarity", [0.5, 0.6, 0.7, 0.8, 0.9])
def test_bands_meet_as_often_as_the_s_curve_says(similarity):
    numbers = np.random.default_rng(1).permutation(2**22).astype(np.uint32).reshape(-1, 2048)
    common = round(2 * 100 * similarity / (1 + similarity))
    banding = best_banding(0.8, 128)
    sets = [set(numbers[n, :100]) for n in range(2000)]
    others = [set(numbers[n, 100 - common : 200 - common]) for n in range(2000)]
    parts = [np.array(sorted(one), dtype=np.uint32) for one in sets + others]
    sizes = np.array([len(part) for part in parts])
    keys = band_keys(Sets(np.concatenate(parts), np.cumsum(sizes) - sizes, sizes), 128, banding)
    true = np.mean([jaccard(one, other) for one, other in zip(sets, others, strict=True)])

    met = np.mean((keys[:2000] == keys[2000:]).any(axis=1))

    assert true == pytest.approx(similarity, abs=0.01)
    assert met == pytest.approx(1 - (1 - true**banding.values) ** banding.bands, abs=0.04)


def test_copies_are_found_whatever_their_whitespace(tmp_path):
    chance = random.Random(3)
    texts = [text_of(chance) for _ in range(50)]
    spaced = [f"\n {text.replace(' ', chance.choice(['  ', chr(10), chr(9)]))} " for text in texts]

    listed = found([row(text) for text in texts + spaced], tmp_path, Duplicates(near=False))

    assert {(pair["left_out"] % 50, pair["kept"] % 50) for pair in listed} == {
        (n, n) for n in range(50)
    }
    assert {(pair["kind"], pair["similarity"]) for pair in listed} == {("exact", 1.0)}


TESTED = {"tests": '["assert f() == 1"]'}
PASSED = TESTED | {"place": "passed"}
KEPT = {
    "passed its tests, though shorter and later": ("best", [("a b c", TESTED), ("a b", PASSED)], 1),
    "has tests, though shorter and later": ("best", [("a b c", {}), ("a b", TESTED)], 1),
    "has the longest response": ("best", [("a b", {}), ("a b c", {}), ("a b", {})], 1),
    "comes first, all else equal": ("best", [("a b", {}), ("a b", {})], 0),
    "comes first, where only that counts": ("first", [("a b", {}), ("a b c", PASSED)], 0),
}


@pytest.mark.parametrize("near", [False, True], ids=["exact", "near"])
@pytest.mark.parametrize("keep, rows, kept", KEPT.values(), ids=KEPT)
def test_the_row_kept_is_the_one_that(keep, rows, kept, near, tmp_path):
    story = text_of(random.Random(5))
    given = [
        row(f"{story} {end} {n}" if near else f"{story}{' ' * len(end)}", **more)
        for n, (end, more) in enumerate(rows)
    ]
    passed = [n for n, one in enumerate(given) if one.place == "passed"]

    listed = found(given, tmp_path, Duplicates(keep=keep), passed=passed)

    assert {pair["kept"] for pair in listed} == {kept}
    assert {pair["kind"] for pair in listed} == {"near" if near else "exact"}
    assert len(listed) == len(rows) - 1


def chain():
    """Three texts of which the middle one is like both others, which are not alike."""
    words = [f"w{n}" for n in range(60)]
    left, right = words.copy(), words.copy()
    left[10], right[50] = "left", "right"
    one, middle, other = (true_shingles(row(" ".join(x))) for x in (left, words, right))
    assert jaccard(one, middle) >= 0.85
    assert jaccard(middle, other) >= 0.85 > jaccard(one, other)
    return [" ".join(x) for x in (left, words, right)]


@pytest.mark.parametrize(
    "order, expected",
    [((0, 1, 2), {(1, 0)}), ((1, 0, 2), {(1, 0), (2, 0)}), ((0, 2, 1), {(2, 0)})],
    ids=["an end is best", "the middle is best", "both ends are better"],
)
def test_a_chain_loses_only_what_is_like_a_row_that_stays(order, expected, tmp_path):
    texts = chain()
    spec = Duplicates(threshold=0.85, permutations=1024, keep="first")

    assert pairs([row(texts[n]) for n in order], tmp_path, spec) == expected


def test_a_copy_of_a_near_copy_follows_the_row_that_stays(tmp_path):
    text = text_of(random.Random(8))
    near = text.replace(" ", " comma ", 1)

    listed = found([row(text), row(near), row(text)], tmp_path)

    assert [(pair["left_out"], pair["kept"], pair["kind"]) for pair in listed] == [
        (0, 1, "near"),
        (2, 1, "near"),
    ]


def test_no_row_that_stands_for_another_is_left_out(mixed_rows, tmp_path):
    listed = found(mixed_rows * 2, tmp_path)

    assert len({pair["left_out"] for pair in listed}) == len(listed) > len(mixed_rows)
    assert not {pair["left_out"] for pair in listed} & {pair["kept"] for pair in listed}


def reversed_run(function, items):
    return reversed([(place, function(item)) for place, item in enumerate(items)])


def two_processes(function, items):
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawned) as pool:
        return list(enumerate(pool.map(function, items)))


@pytest.mark.parametrize("run", [reversed_run, two_processes])
def test_the_result_does_not_depend_on_who_works(mixed_rows, tmp_path, run):
    alone = search(mixed_rows, tmp_path / "alone")

    assert search(mixed_rows, tmp_path / "other", run=run).read_bytes() == alone.read_bytes()


@pytest.mark.parametrize("size", [7, 37, 1000])
def test_the_result_does_not_depend_on_how_rows_are_cut(mixed_rows, tmp_path, monkeypatch, size):
    rows = mixed_rows[:150]
    whole = search(rows, tmp_path / "whole")
    monkeypatch.setattr(duplicates, "PART_ROWS", 40)
    monkeypatch.setattr(duplicates, "COMPARED_ROWS", 3)

    assert search(rows, tmp_path / "cut", size=size).read_bytes() == whole.read_bytes()


def test_the_order_of_the_sketches_does_not_matter(mixed_rows, tmp_path):
    whole = search(mixed_rows, tmp_path / "whole")
    files = sorted(tmp_path.glob("whole/*.parquet"), key=lambda path: path.name[::-1])

    again = find_duplicates(files, SPEC, tmp_path / "again", Alone().run)

    assert again.read_bytes() == whole.read_bytes()


def test_what_was_cut_off_goes_on_to_the_same_end(mixed_rows, tmp_path):
    whole = search(mixed_rows, tmp_path / "whole")
    resumed = None
    for allowed in range(100):
        left = iter(range(allowed))

        def dying(function, items, left=left):
            for place, item in enumerate(items):
                if next(left, None) is None:
                    raise KeyboardInterrupt
                yield place, function(item)

        with contextlib.suppress(KeyboardInterrupt):
            resumed = search(mixed_rows, tmp_path / "cut", run=dying)
            break

    assert allowed > SPEC.banding.bands
    assert resumed.read_bytes() == whole.read_bytes()
    assert [path.name for path in resumed.parent.iterdir()] == ["duplicates.parquet"]


def test_a_refused_row_stands_for_none_and_is_not_listed(tmp_path):
    text = text_of(random.Random(2))
    rows = [row(text), row(text), row(text), row(f"{text} more"), row(text_of(random.Random(4)))]

    assert pairs(rows, tmp_path / "all") == {(0, 3), (1, 3), (2, 3)}
    assert pairs(rows, tmp_path / "some", refused=[3, 0]) == {(2, 1)}


def test_only_the_response_is_compared_where_asked(tmp_path):
    text = text_of(random.Random(2))
    rows = [row(text, "Sort the numbers of a list."), row(text, text_of(random.Random(3)))]

    assert pairs(rows, tmp_path / "all") == set()
    assert pairs(rows, tmp_path / "response", Duplicates(compare="response")) == {(1, 0)}


def test_twenty_thousand_near_copies_leave_one_row(tmp_path):
    words = text_of(random.Random(1), 40)
    rows = [row(f"{words} {n}") for n in range(20_000)]

    listed = found(rows, tmp_path, size=4096)

    assert {pair["kept"] for pair in listed} == {10_000}
    assert len(listed) == 19_999


def test_rows_of_equal_bands_are_left_out_as_by_comparing_all():
    chance = np.random.default_rng(5)
    drawn = [chance.choice(60, size=chance.integers(1, 50), replace=False) for _ in range(400)]
    parts = [np.sort(part).astype(np.uint32) for part in drawn]
    sizes = np.array([len(part) for part in parts])
    keys = chance.integers(0, 30, size=(400, 4)).astype(np.uint64)
    sets = Sets(np.concatenate(parts), np.cumsum(sizes) - sizes, sizes)
    kept, expected = [], []
    for place, part in enumerate(parts):
        near = [
            (jaccard(set(part), set(parts[other])), -other)
            for other in kept
            if (keys[place] == keys[other]).any()
        ]
        if near and max(near)[0] >= 0.4:
            expected.append((place, -max(near)[1], max(near)[0]))
        else:
            kept.append(place)

    listed = [(m.left_out, m.kept, m.similarity) for m in left_out(sets, keys, 0.4)]

    assert len(expected) > 50
    assert listed == expected


@pytest.mark.parametrize("rows", [0, 1, 5], ids=["no row", "one", "five unlike rows"])
def test_nothing_is_found_among(rows, tmp_path):
    assert found([row(text_of(random.Random(n))) for n in range(rows)], tmp_path) == []


@pytest.mark.parametrize("near", [False, True])
def test_empty_texts_are_copies_of_each_other(near, tmp_path):
    rows = [row("", ""), row("  ", ""), row("x", ""), row("x y", "")]

    assert pairs(rows, tmp_path, Duplicates(near=near)) == {(0, 1)}


def test_a_text_shorter_than_a_shingle_is_one():
    sets = shingle_sets(["a b", "a b", "a c", "a b c", ""], "words", 3)

    assert sets.sizes.tolist() == [1, 1, 1, 1, 0]
    assert sets.of(0) == sets.of(1) != sets.of(2)


WRONG = {
    "near without exact": ({"exact": False}, "exact: false"),
    "threshold in per cent": ({"threshold": 80}, "threshold"),
    "no such kind": ({"shingle": {"kind": "lines"}}, "words"),
    "misspelt key": ({"treshold": 0.7}, "threshold"),
    "shingles of nothing": ({"shingle": {"size": 0}}, "size"),
}


@pytest.mark.parametrize("value, told", WRONG.values(), ids=WRONG)
def test_a_recipe_is_refused_with(value, told):
    spec, mistakes = Duplicates.parse(value)

    assert spec is None
    assert told in " ".join(mistakes)
