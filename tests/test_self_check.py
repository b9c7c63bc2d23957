"""Attacks on the judge and its sandboxes, each tried for real; and that they are real attacks."""

import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from eval_sandbox import (
    attacks,
    attacks_codec,
    attacks_containment,
    attacks_endings,
    attacks_leftover,
    attacks_time,
    attacks_values,
    attacks_verdict,
)
from eval_sandbox.attacks import ATTACKS, CANARY, CODEC_ATTACKS, LEFTOVER_ATTACKS
from eval_sandbox.attacks_common import CHECK, SECRET_FORMS
from eval_sandbox.problem import Script
from eval_sandbox.self_check import _survivors, self_check
from eval_sandbox.verdict import Outcome


@pytest.fixture(scope="module")
def trials():
    return {trial.name: trial for trial in self_check(workers=4)}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_sandbox_withstands_a_program_that(name, trials):
    trial = trials[name]

    assert trial.verdict.outcome in ATTACKS[name].outcomes, trial.verdict
    assert trial.survivors == 0
    assert trial.aftermath == ""
    assert trial.withstood


def test_an_honest_program_passes_before_the_attacks(trials):
    assert trials["passes an honest program"].verdict.outcome is Outcome.PASSED


def test_every_attack_was_tried(trials):
    assert len(trials) == len(ATTACKS) + 1


def test_names_are_unique():
    sources = (
        (attacks_endings, ("EXIT_ATTACKS", "RAISE_ATTACKS")),
        (attacks_values, ("RETURN_ATTACKS",)),
        (attacks_verdict, ("TAMPER_ATTACKS", "SECRET_ATTACKS", "TEST_ATTACKS")),
        (attacks_codec, ("SMALL_FRAMES", "LARGE_FRAMES", "PIPE_ATTACKS")),
        (attacks_codec, ("HANDLE_ATTACKS", "STRANGER_ATTACKS")),
        (attacks_time, ("TIME_ATTACKS", "SPACE_ATTACKS")),
        (attacks_containment, ("HOST_ATTACKS", "PRIVILEGE_ATTACKS", "SURVIVAL_ATTACKS")),
        (attacks_leftover, ("FILE_ATTACKS", "STATE_ATTACKS", "TALK_ATTACKS")),
    )
    names = Counter(name for module, groups in sources for g in groups for name in vars(module)[g])

    assert [name for name, times in names.items() if times > 1] == []
    assert {name.partition(", judged by ")[0] for name in ATTACKS} == set(names)


def test_there_are_attacks_of_every_kind():
    for kind in ("VERDICT", "CODEC", "TIME_AND_SPACE", "CONTAINMENT", "LEFTOVER"):
        assert len({a.program for a in vars(attacks)[f"{kind}_ATTACKS"].values()}) >= 30, kind


def test_no_attack_may_pass_for_lack_of_an_expectation():
    may_pass = {name for name, a in ATTACKS.items() if Outcome.PASSED in a.outcomes}

    assert {name.partition(", judged by ")[0] for name in may_pass} == {
        "knows its judge by its descriptors and then is wrong",
        "gives a right answer in a frame and does not end",
    }
    assert not any(Outcome.SANDBOX_ERROR in attack.outcomes for attack in ATTACKS.values())


def test_what_another_left_is_prepared_by_that_other():
    assert all(attack.before for attack in LEFTOVER_ATTACKS.values())


def test_forged_frames_are_tried_on_dialogues_and_on_strangers_tests():
    names = " ".join(CODEC_ATTACKS)

    assert "judged by a dialogue" in names
    assert "judged by a stranger's asserts" in names


def run_unprotected(program, tests, folder):
    """As a harness does it that runs the tests in the program's process."""
    script = folder / "all.py"
    source = "\n".join([program, *(test.source for test in tests)])
    script.write_text(source, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-I", script],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    ).returncode


EXITS = sorted(set(attacks_endings.EXIT_ATTACKS) - {"is answered for by parent and child"})
LIES = (
    "returns an object that equals everything",
    "returns mock.ANY",
    "returns a class that equals everything",
    "returns an int that equals everything",
    "returns a list whose length and items lie",
    "returns a dict whose items equal everything",
    "returns an object that claims to be an int",
)
TAMPERS = (
    "jumps over the asserts by a trace function",
    "answers from a profile function",
    "makes two equal to seven by ctypes",
    "forges success on every descriptor",
)
SEARCHES = (
    "walks the frames for what is expected",
    "searches all objects for what is expected",
    "searches its memory for what is expected",
    "reads the source of its tests",
)
TRICKS = (
    "returns a number near to everything",
    "redefines what its tests compare with",
    "redefines a helper of its tests",
    "foretells the random numbers of its tests",
    "stops the iteration that tests it",
    "is taken for true where an answer is expected",
    "makes two answers one by their hashes",
    "fails while its tests swallow exceptions",
)
REACHES = (
    "reads the users of the host",
    "follows a symbolic link out of its folder",
    "looks at other processes",
    "reads a file of the host",
    "writes on a file of the host",
    "removes a file of the host",
    "reads the environment of the process above it",
    "reads the kernel's settings",
    "makes a socket of any family",
    "meets another candidate at a named socket",
    "starts a shell",
    "starts another interpreter",
    "starts a program from a descriptor",
    "starts a program from memory",
    "reads memory through the kernel",
    "holds a process by a descriptor",
    "locks a shared file",
    "locks a part of a shared file",
    "watches what others read",
)


@pytest.mark.parametrize("name", EXITS)
def test_leaving_is_taken_for_a_pass_where_nothing_stops_it(name, tmp_path):
    assert run_unprotected(attacks_endings.EXIT_ATTACKS[name].program, CHECK, tmp_path) == 0


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_taken_for_a_pass_where_nothing_stops_it(name, tmp_path):
    assert run_unprotected(attacks_values.RETURN_ATTACKS[name].program, CHECK, tmp_path) == 0


@pytest.mark.parametrize("name", TAMPERS)
def test_tampering_is_taken_for_a_pass_where_nothing_stops_it(name, tmp_path):
    assert run_unprotected(attacks_verdict.TAMPER_ATTACKS[name].program, CHECK, tmp_path) == 0


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_finds_what_is_expected_where_nothing_stops_it(name, tmp_path):
    (tests,) = (form.tests for form in SECRET_FORMS if form.name == "a check function")

    assert run_unprotected(attacks_verdict.SECRET_ATTACKS[name].program, tests, tmp_path) == 0


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_on_its_tests_works_where_nothing_stops_it(name, tmp_path):
    attack = attacks_verdict.TEST_ATTACKS[name]

    assert run_unprotected(attack.program, attack.tests, tmp_path) == 0


@pytest.mark.parametrize("name", REACHES)
def test_the_host_is_reached_where_nothing_stops_it(name, tmp_path):
    canary = tmp_path / "canary"
    canary.write_text("here")
    program = ATTACKS[name].program.replace(CANARY, str(canary))

    assert run_unprotected(program, (Script(source="assert f(1) == 2"),), tmp_path) == 0


def test_a_survivor_is_found_by_its_name_and_by_that_of_a_thread():
    named, ended = threading.Event(), threading.Event()
    name = f"s{time.monotonic_ns():015d}"[:15]
    rename = f"import ctypes; ctypes.CDLL(None).prctl(15, b'{name}', 0, 0, 0)"
    thread = threading.Thread(target=lambda: (exec(rename), named.set(), ended.wait()))
    thread.start()
    assert named.wait(timeout=10)
    try:
        assert _survivors(name) == 1
    finally:
        ended.set()
        thread.join()
    assert _survivors(name) == 0


def test_a_survivor_is_found_by_its_command_line():
    word = f"survivor-{time.monotonic_ns()}"
    command = [sys.executable, "-c", "print(flush=True); input()", word]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one:
        one.stdout.readline()  # it has its command line only when it has started
        assert _survivors(word) == 1
        one.communicate(b"\n")
    assert _survivors(word) == 0
