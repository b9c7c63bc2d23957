"""Counts of rows left out add up, whatever shards they were counted in."""

from jobs.data.row import Refused
from jobs.data.tally import Tally, total


def refused(place, reason="longest_line", source="s"):
    return Refused(source=source, place=place, step="filters", reason=reason, found="x" * 300)


def counted(*refusals, seen=0):
    tally = Tally()
    tally.see("s", seen)
    for one in refusals:
        tally.refuse(one)
    return tally


def test_counts_of_shards_add_up():
    whole = total([counted(refused("a:1"), seen=5), counted(refused("a:2"), seen=7)])

    (drop,) = whole.drops()
    assert drop.rows == 2
    assert whole.seen == {"s": 12}


def test_at_most_three_examples_are_kept_and_each_is_cut():
    whole = total(
        [counted(refused("a:1"), refused("a:2")), counted(refused("b:1"), refused("b:2"))]
    )

    (drop,) = whole.drops()
    assert [example[:3] for example in drop.examples] == ["a:1", "a:2", "b:1"]
    assert max(map(len, drop.examples)) == 200


def test_drops_are_listed_by_source_step_and_reason():
    tally = counted(refused("1", "z"), refused("2", "a"), refused("3", "a", source="b"))

    assert [(drop.source, drop.reason) for drop in tally.drops()] == [
        ("b", "a"),
        ("s", "a"),
        ("s", "z"),
    ]


def test_a_tally_comes_back_from_its_file(tmp_path):
    tally = counted(refused("ä:1"), seen=3)
    tally.write(tmp_path / "t.json")

    assert Tally.read(tmp_path / "t.json") == tally
