"""Actors that keep what they set up: bounded, in any order, and an item of a dead one again."""

import os
import signal
import time
from pathlib import Path

import pytest

from cluster.session import connect


class Squares:
    """Works on numbers; dies once at the number that it is told."""

    def __init__(self, folder, dies_at):
        self.folder, self.dies_at = folder, dies_at
        (folder / f"made-{os.getpid()}").touch()

    def work(self, item):
        died = self.folder / "died"
        if item == self.dies_at and not died.exists():
            died.touch()
            os._exit(1)
        return item * item


@pytest.fixture(scope="module")
def scatter(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # actors import what is above
        with connect(tmp_path_factory.mktemp("home")):
            from cluster.pool import scatter  # Ray reads its settings when it is imported

            yield scatter


def test_every_item_is_worked_on_once_by_as_many_actors_as_are_allowed(scatter, tmp_path):
    results = sorted(scatter(Squares, [tmp_path, None], range(20), at_most=2))

    assert results == [(place, place * place) for place in range(20)]
    assert len(list(Path(tmp_path).glob("made-*"))) == 2


def test_the_item_of_an_actor_that_dies_is_worked_on_again(scatter, tmp_path):
    told = []
    results = sorted(scatter(Squares, [tmp_path, 5], range(9), at_most=2, lost=told.append))

    assert results == [(place, place * place) for place in range(9)]
    assert (tmp_path / "died").exists()
    (line,) = told
    assert line.startswith("Squares")
    assert "was killed; another takes its place" in line


class Deadly:
    """Dies at every item, and counts."""

    def __init__(self, folder):
        self.folder = folder

    def work(self, item):
        (self.folder / f"died-{os.getpid()}").touch()
        os._exit(1)


def test_an_item_that_kills_every_actor_is_given_up(scatter, tmp_path):
    from cluster.pool import PoolError

    with pytest.raises(PoolError, match=r"Deadly.* was killed: the 4th"):
        list(scatter(Deadly, [tmp_path], [1], at_most=1))

    assert len(list(tmp_path.glob("died-*"))) == 4


class Freezing:
    """Stops its own process once, as a machine does that hangs."""

    def __init__(self, folder):
        self.folder = folder

    def work(self, item):
        note = self.folder / "frozen"
        if not note.exists():
            time.sleep(3.0)  # it has answered by then
            freeze(note)
        return item


def freeze(note):
    note.write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(600)  # this thread runs on until the first thread has seen the signal


def test_the_item_of_an_actor_that_freezes_is_worked_on_again(scatter, tmp_path, monkeypatch):
    monkeypatch.setattr("cluster.pool.SILENT_SECONDS", 2.0)
    monkeypatch.setattr("cluster.pool.ASK_SECONDS", 0.2)
    told = []

    assert list(scatter(Freezing, [tmp_path], [7], at_most=1, lost=told.append)) == [(0, 7)]

    frozen = int((tmp_path / "frozen").read_text())
    (line,) = [line for line in told if f"process {frozen} on" in line]
    assert "did not answer for 2 s" in line
    deadline = time.monotonic() + 60
    while Path("/proc", str(frozen)).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path("/proc", str(frozen)).exists()


class Stillborn:
    """Freezes while it is set up, once."""

    def __init__(self, folder):
        if not (folder / "frozen").exists():
            freeze(folder / "frozen")

    def work(self, item):
        return item


def test_an_actor_that_freezes_before_its_first_answer_is_replaced(scatter, tmp_path, monkeypatch):
    told = []

    with monkeypatch.context() as impatient:
        impatient.setattr("cluster.pool.START_SECONDS", 8.0)

        def lost(line):
            told.append(line)
            if (tmp_path / "frozen").exists():
                impatient.undo()

        assert list(scatter(Stillborn, [tmp_path], [7], at_most=1, lost=lost)) == [(0, 7)]

    frozen = int((tmp_path / "frozen").read_text())
    assert any(f"process {frozen} on" in line for line in told)


class Slow:
    """Says that it began, and is not done for long."""

    def __init__(self, folder):
        self.folder = folder

    def work(self, item):
        (self.folder / f"made-{os.getpid()}").touch()
        time.sleep(600)


def test_actors_end_at_work_where_the_work_is_not_wanted_any_more(scatter, tmp_path):
    from cluster.ending import UnwantedError

    def begun():
        return bool(list(tmp_path.glob("made-*")))

    with pytest.raises(UnwantedError):
        list(scatter(Slow, [tmp_path], range(9), at_most=1, unwanted=begun))

    deadline = time.monotonic() + 10
    while still_running(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not still_running(tmp_path)


def test_an_actor_without_another_item_gives_its_processor_back(scatter, tmp_path):
    results = scatter(Squares, [tmp_path, None], range(2), at_most=2)

    next(results)
    deadline = time.monotonic() + 10
    while (alive := still_running(tmp_path)) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive <= 1
    assert len(list(results)) == 1


def still_running(folder):
    pids = [path.name.partition("-")[2] for path in folder.glob("made-*")]
    return sum(Path("/proc", pid).exists() for pid in pids)


class Closing(Squares):
    """Tells that it was closed, after a while."""

    def close(self):
        time.sleep(0.2)
        (self.folder / f"closed-{os.getpid()}").touch()


def test_a_worker_that_can_be_closed_is_closed_before_it_ends(scatter, tmp_path):
    assert len(list(scatter(Closing, [tmp_path, None], range(3), at_most=2))) == 3

    made, closed = (
        {path.name.partition("-")[2] for path in tmp_path.glob(f"{word}-*")}
        for word in ("made", "closed")
    )
    assert made == closed
    assert len(made) == 2


class Unmade:
    def __init__(self):
        raise ValueError("there is no sandbox")

    def work(self, item):
        return item


def test_an_actor_that_cannot_be_set_up_is_not_told_as_one_that_was_killed(scatter):
    from cluster.pool import PoolError

    with pytest.raises(PoolError, match=r"could not be set up \(ValueError: there is no sandbox\)"):
        list(scatter(Unmade, [], [1], at_most=1))


class Strict:
    def work(self, item):
        raise ValueError(f"line {item} is wrong")


def test_what_work_raises_reaches_the_caller_as_it_was(scatter):
    with pytest.raises(ValueError, match=r"^line 1 is wrong$"):
        list(scatter(Strict, [], [1], at_most=1))


def test_nothing_to_do_starts_no_actor(scatter, tmp_path):
    assert list(scatter(Squares, [tmp_path, None], [], at_most=2)) == []
    assert not list(Path(tmp_path).glob("made-*"))
