"""Outcomes of programs, one property each."""

import concurrent.futures
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from eval_sandbox.candidate_server import Allowance, Reason, Report
from eval_sandbox.contract import Judging, Limits
from eval_sandbox.judge import Worker, assemble, judge_all
from eval_sandbox.judge_server import left_of
from eval_sandbox.problem import Call, Completion, Dialogue, Problem, Script, Trials
from eval_sandbox.sandbox import Sandbox, SandboxFailureError
from eval_sandbox.verdict import Outcome

LIMITS = Limits(cpu_seconds=2.0, wall_seconds=20.0)


def problem(*tests, entry_point="f", prompt="", **fields):
    return Problem(
        task_id="p",
        instruction="",
        prompt=prompt,
        entry_point=entry_point,
        tests=tests,
        **fields,
    )


def call(*args, expected, **kwargs):
    return Call(args=args, kwargs=kwargs, expected=expected)


@pytest.fixture(scope="module", autouse=True)
def worker():
    """One worker for all tests, as in use: nothing of one may show in the next."""
    with Worker() as worker:
        verdict.worker = worker
        yield worker


def verdict(program, *tests, whole=True, judging=None, **fields):
    completion = Completion(task_id="p", text=program, whole=whole)
    asked = problem(*tests, **fields)
    return verdict.worker.judge(asked, completion, judging or Judging(limits=LIMITS))


RETURNS = {
    "the right int": ("return 3", 3, Outcome.PASSED),
    "a wrong int": ("return 4", 3, Outcome.FAILED),
    "True for 1": ("return True", 1, Outcome.FAILED),
    "1 for True": ("return 1", True, Outcome.FAILED),
    "a tuple for a list": ("return (1, (2,))", [1, [2]], Outcome.PASSED),
    "a set for a list": ("return {1, 2}", [1, 2], Outcome.FAILED),
    "a float off by rounding": ("return 0.1 + 0.2", 0.3, Outcome.PASSED),
    "a float off by a millionth": ("return 0.300001", 0.3, Outcome.FAILED),
    "a whole float for an int": ("return 3.0", 3, Outcome.PASSED),
    "nothing": ("pass", None, Outcome.PASSED),
    "nothing for 0": ("pass", 0, Outcome.FAILED),
    "a dict in another order": ("return {'b': 2, 'a': 1}", {"a": 1, "b": 2}, Outcome.PASSED),
    "a dict with one key more": ("return {'a': 1, 'b': 2}", {"a": 1}, Outcome.FAILED),
    "a big int": ("return 7 ** 99", 7**99, Outcome.PASSED),
    "text with a NUL and a surrogate": ("return '\\0\\ud800é'", "\0\ud800é", Outcome.PASSED),
    "a Counter": ("import collections; return collections.Counter('aa')", {"a": 2}, Outcome.PASSED),
    "a module": ("import os; return os", 1, Outcome.FAILED),
}


@pytest.mark.parametrize("body, expected, outcome", RETURNS.values(), ids=RETURNS)
def test_outcome_of_a_function_that_returns(body, expected, outcome):
    assert verdict(f"def f(): {body}", call(expected=expected)).outcome is outcome


def test_arguments_arrive_by_position_and_by_name():
    given = call([1], {"k": 2.5}, expected=[[1], {"k": 2.5}, "named"], c="named")

    assert verdict("def f(a, b, c): return a, b, c", given).outcome is Outcome.PASSED


def test_a_call_that_changes_its_argument_does_not_change_the_next_test():
    program = "def f(a):\n    a.append(1)\n    return len(a)"

    assert verdict(program, call([], expected=1), call([], expected=1)).outcome is Outcome.PASSED


def test_one_wrong_call_fails_the_completion_and_the_detail_says_which():
    judged = verdict("def f(x): return 5", call(1, expected=5), call(2, expected=[6]))

    assert judged.outcome is Outcome.FAILED
    assert judged.detail == "call 2 returned 5, expected [6]"


DETAILS = {
    "missing": ("def g(): pass", "NameError: the program defines no 'f'"),
    "raises": ("def f():\n    x = 1\n    return {}['a']", "KeyError: 'a' (line 3)"),
    "syntax": ("def f(:", "SyntaxError: invalid syntax (line 1)"),
    "control": ("def f(): raise ValueError('\\x1b[31m\\n')", "ValueError: \\x1b[31m\\n (line 1)"),
    "address": ("def f(): return iter([])", "call 1 returned <list_iterator object>, expected 1"),
    "long": ("def f(): raise ValueError('x' * 10_000)", f"ValueError: {'x' * 200} (line 1)"),
}


FILLS = {
    "numbers": "total = []\n    while True: total.append(len(total))",
    "objects": "total = []\n    while True: total.append(object())",
    "a table": "total = {}\n    while True: total[len(total)] = str(len(total))",
    "one list": "total = [0] * 1000\n    while True: total += total",
}


@pytest.mark.parametrize("body", FILLS.values(), ids=FILLS)
def test_a_program_is_out_of_memory_that_fills_it_with(body):
    judging = Judging(limits=Limits(cpu_seconds=20.0, wall_seconds=60.0, memory_mib=256))

    judged = verdict(f"def f():\n    {body}", call(expected=1), judging=judging)

    assert (judged.outcome, judged.detail) == (Outcome.OUT_OF_MEMORY, "MemoryError (line 3)")


@pytest.mark.parametrize("program, detail", DETAILS.values(), ids=DETAILS)
def test_detail_is_one_printable_line_for_a_program_that_is(program, detail):
    assert verdict(program, call(expected=1)).detail == detail


def test_a_failed_assert_is_quoted():
    judged = verdict("def f(): return 1", Script(source="assert f() == 1\nassert f() == 2"))

    assert judged.outcome is Outcome.FAILED
    assert judged.detail == "AssertionError (test: assert f() == 2); returned 1"


def test_calls_keep_their_order_where_a_test_calls_a_function_of_an_earlier_one():
    program = "calls = []\ndef f(x):\n    calls.append(x)\n    return len(calls)"
    tests = "def first(): return f(1)", "assert first() == 1\nassert f(2) == 2"

    assert verdict(program, *(Script(source=test) for test in tests)).outcome is Outcome.PASSED


def test_set_up_runs_after_the_program_and_before_the_asserts():
    program = "class Node:\n    pass"

    judged = verdict(program, Script(source="assert isinstance(n, Node)"), setup="n = Node()")

    assert judged.outcome is Outcome.PASSED


def test_a_main_block_runs_only_where_the_program_itself_is_judged():
    program = "def f(): return 1\nif __name__ == '__main__': print(input())"

    assert verdict(program, call(expected=1)).outcome is Outcome.PASSED
    assert verdict(program, Dialogue(stdin="a", stdout="a")).outcome is Outcome.PASSED


DIALOGUES = {
    "right": ("print(int(input()) + 1)", Outcome.PASSED),
    "right but for white space at line ends": ("print('42  \\n\\n')", Outcome.PASSED),
    "right and calls exit": ("print(42)\nexit()", Outcome.PASSED),
    "right and leaves with 0": ("import os\nos.write(1, b'42')\nos._exit(0)", Outcome.PASSED),
    "right from a thread": (
        "import threading\nthreading.Timer(0.1, print, [42]).start()",
        Outcome.PASSED,
    ),
    "right with a failing status": ("print(42)\nraise SystemExit(3)", Outcome.FAILED),
    "right and then raises": ("print(42)\n1 / 0", Outcome.FAILED),
    "wrong": ("print(43)", Outcome.FAILED),
    "right on standard error": ("import sys\nprint(42, file=sys.stderr)", Outcome.FAILED),
    "right with space before it": ("print(' 42')", Outcome.FAILED),
}


@pytest.mark.parametrize("program, outcome", DIALOGUES.values(), ids=DIALOGUES)
def test_outcome_of_a_dialogue_that_is(program, outcome):
    assert verdict(program, Dialogue(stdin="41\n", stdout="42\n")).outcome is outcome


@pytest.mark.parametrize("share, outcome", [(1, Outcome.PASSED), (9, Outcome.OUTPUT_LIMIT)])
def test_the_output_limit_of_a_dialogue_is_for_both_streams_together(share, outcome):
    program = (
        "import sys\nx = int(input())\nsys.stderr.write('x' * x)\nsys.stdout.write(' ' * x)"
        "\nsys.stdout.flush()\nsys.stderr.flush()"
    )
    half = 15 * 1024 * share

    assert verdict(program, Dialogue(stdin=str(half), stdout="")).outcome is outcome


def test_each_dialogue_is_a_fresh_run_in_a_fresh_folder():
    program = "import os\nprint(os.path.exists('left'))\nopen('left', 'w').close()"
    dialogues = [Dialogue(stdin="", stdout="False")] * 2

    assert verdict(program, *dialogues).outcome is Outcome.PASSED


def test_the_wall_limit_holds_for_all_tests_together():
    program = "import time\ntime.sleep(0.7)"
    judging = Judging(limits=Limits(wall_seconds=1.0))

    judged = verdict(program, *[Dialogue(stdin="", stdout="")] * 3, judging=judging)

    assert judged.outcome is Outcome.TIMED_OUT
    assert judged.wall_seconds < 2.0


def test_a_program_killed_by_a_signal_crashed():
    program = "import ctypes\ndef f(): ctypes.string_at(0)"

    judged = verdict(program, call(expected=1))

    assert judged.outcome is Outcome.CRASHED
    assert judged.detail == "killed by SIGSEGV"


def test_cpu_time_counts_child_processes_and_not_sleep():
    program = (
        "import os, time\n"
        "def f():\n"
        "    if os.fork() == 0:\n"
        "        while time.process_time() < 0.3: pass\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "    time.sleep(0.3)\n"
    )

    judged = verdict(program, call(expected=None))

    assert judged.outcome is Outcome.PASSED
    assert 0.28 < judged.cpu_seconds < 0.58
    assert judged.wall_seconds > 0.6


def test_cpu_time_of_a_child_that_nobody_waits_for_counts():
    program = (
        "import os, signal, time\n"
        "def f():\n"
        "    signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "    if os.fork() == 0:\n"
        "        while time.process_time() < 0.5: pass\n"
        "        os._exit(0)\n"
        "    try: os.wait()\n"
        "    except ChildProcessError: pass\n"
    )

    judged = verdict(program, call(expected=None))

    assert judged.outcome is Outcome.PASSED
    assert 0.35 < judged.cpu_seconds < 0.7


def test_time_that_the_host_withheld_is_nothing_that_a_dialogue_used():
    allowance = Allowance(5.0, 30.0, 1 << 30, 1 << 18, dialogue=True)
    report = Report(0, Reason.ENDED, cpu_seconds=1.0, wall_seconds=20.0, withheld_seconds=15.0)

    left = left_of(allowance, [report, report])

    assert left == allowance._replace(cpu_seconds=3.0, wall_seconds=20.0)
    assert left_of(allowance, [report] * 5) is None


def test_children_that_burn_cpu_together_use_up_the_budget():
    program = (
        "import os, time\n"
        "def f():\n"
        "    for _ in range(2):\n"
        "        if os.fork() == 0:\n"
        "            while time.process_time() < 0.7: pass\n"
        "            os._exit(0)\n"
        "    os.wait(), os.wait()\n"
    )
    judging = Judging(limits=Limits(cpu_seconds=1.0, wall_seconds=60.0))

    assert verdict(program, call(expected=None), judging=judging).outcome is Outcome.TIMED_OUT


BUFFERED = {
    "a file of its own that it does not close": "own = open(1, 'w')\nown.write('42')",
    "one in a cycle": "class A: pass\na = A()\na.a, a.own = a, open(1, 'w')\na.own.write('42')",
    "standard output that it replaces": "import io, sys\nprint(42)\nsys.stdout = io.StringIO()",
    "an object that prints when it goes": "class A:\n    def __del__(self): print(42)\na = A()",
    "a function called at exit": "import atexit\natexit.register(print, 42)",
}


@pytest.mark.parametrize("program", BUFFERED.values(), ids=BUFFERED)
def test_nothing_is_lost_that_a_program_writes_by(program):
    judged = verdict(program, Dialogue(stdin="", stdout="42"))

    assert judged.outcome is Outcome.PASSED, judged


def test_a_completion_of_17_mib_is_judged():
    program = f"def f(): return 1\ntext = '{'x' * (17 << 20)}'"

    assert verdict(program, call(expected=1)).outcome is Outcome.PASSED
    assert verdict(program, Dialogue(stdin="", stdout="")).outcome is Outcome.PASSED


UNPREPARED = {
    "are no Python": (Script(source="assert f(:"), {}, "SyntaxError"),
    "come with a reference that exits": (
        Trials(name="base", inputs=((),)),
        {"reference": "raise SystemExit('no')"},
        "no",
    ),
}


@pytest.mark.parametrize("test, fields, detail", UNPREPARED.values(), ids=UNPREPARED)
def test_our_fault_are_tests_that(test, fields, detail):
    judged = verdict("def f(): return 1", test, **fields)

    assert judged.outcome is Outcome.SANDBOX_ERROR
    assert "cannot be prepared" in judged.detail
    assert detail in judged.detail


def test_all_results_together_are_bounded():
    test = "kept = [f() for _ in range(40)]"

    judged = verdict("def f(): return 'x' * (15 << 20)", Script(source=test))

    assert judged.outcome is Outcome.OUTPUT_LIMIT
    assert judged.detail == "returned more than 256 MiB in all"


def test_a_users_own_tests_end_though_they_sleep():
    judging = Judging(limits=Limits(wall_seconds=1.0))
    test = Script(source="import time\nf()\ntime.sleep(60)")

    judged = verdict("def f(): return 1", test, trusted=False, judging=judging)

    assert judged.outcome is Outcome.TIMED_OUT
    assert judged.wall_seconds < 2.0


def test_a_sandbox_that_cannot_work_is_our_fault():
    judging = Judging(limits=Limits(file_mib=2**44))  # more than a file system can be told

    judged = verdict("def f(): return 1", call(expected=1), judging=judging)

    assert judged.outcome is Outcome.SANDBOX_ERROR
    assert "gone" in judged.detail


def processes_below(process):
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):  # of one that ends meanwhile
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *processes_below(child)]
    return found


@pytest.mark.parametrize("times, outcome", [(1, Outcome.PASSED), (9, Outcome.SANDBOX_ERROR)])
def test_a_sandbox_killed_from_outside_is_tried_again_and_then_our_fault(times, outcome):
    asked = problem(call(expected=1))
    program = Completion(
        task_id="p", text="import time; time.sleep(1)\ndef f(): return 1", whole=True
    )
    with Worker() as worker, concurrent.futures.ThreadPoolExecutor() as pool:
        others = set(processes_below(os.getpid()))
        verdict = pool.submit(worker.judge, asked, program, Judging(limits=LIMITS))
        for _ in range(times):
            deadline = time.monotonic() + 2.0
            while not verdict.done() and time.monotonic() < deadline:
                time.sleep(0.05)
                newest = sorted(set(processes_below(os.getpid())) - others)
                if len(newest) > 4:
                    with suppress(ProcessLookupError):
                        os.kill(newest[-1], signal.SIGKILL)
                    break
        judged = verdict.result()

    assert judged.outcome is outcome
    assert outcome is Outcome.PASSED or judged.detail


def test_a_worker_whose_processes_are_all_killed_between_two_answers_judges_on():
    asked = problem(call(expected=1))
    program = Completion(task_id="p", text="def f(): return 1", whole=True)
    others = set(processes_below(os.getpid()))
    with Worker() as worker:
        worker.judge(asked, program, Judging(limits=LIMITS))
        started = set(processes_below(os.getpid())) - others
        for process in started:
            with suppress(ProcessLookupError):  # it ended with another
                os.kill(process, signal.SIGKILL)
        judged = worker.judge(asked, program, Judging(limits=LIMITS))

    assert started
    assert judged.outcome is Outcome.PASSED


def test_a_reference_is_measured_again_after_the_sandbox_failed(monkeypatch):
    asked = problem(call(expected=1), reference="def f(): return 1")
    completion = Completion(task_id="p", text="def f(): return 1", whole=True)
    asking, requests = Sandbox.ask, []

    def failing_twice(sandbox, request, seconds):
        requests.append(request)
        if len(requests) <= 2:
            raise SandboxFailureError("killed")
        return asking(sandbox, request, seconds)

    monkeypatch.setattr(Sandbox, "ask", failing_twice)
    with Worker() as worker:
        outcomes = [worker.judge(asked, completion, Judging()).outcome for _ in range(3)]

    assert outcomes == [Outcome.PASSED] * 3
    assert len(requests) == 2 + 1 + 2 + 1  # the reference twice in vain, then once more


def test_problems_that_json_cannot_tell_apart_are_two():
    checks = [call({key: 0}, expected=True) for key in (1, "1")]

    outcomes = [verdict("def f(x): return 1 in x", check).outcome for check in checks]

    assert outcomes == [Outcome.PASSED, Outcome.FAILED]


def test_a_sandbox_that_starts_only_by_half_leaves_no_process(monkeypatch):
    start, before = Sandbox._start, set(processes_below(os.getpid()))

    def failing(sandbox, module, *ends):
        if module == "judge_server":
            raise OSError("no more processes")
        start(sandbox, module, *ends)

    monkeypatch.setattr(Sandbox, "_start", failing)

    with pytest.raises(OSError, match="no more"):
        Sandbox((2 << 30, 16, 16 << 20))
    assert set(processes_below(os.getpid())) <= before


def test_a_problem_without_tests_is_refused():
    with pytest.raises(ValueError, match="no tests"):
        verdict("def f(): return 1")


def test_a_completion_continues_the_prompt_and_a_solution_does_not():
    asked = problem(call(expected=1), prompt="def f():\n")
    continued = Completion(task_id="p", text="    return 1")
    whole = Completion(task_id="p", text="f = lambda: 1", whole=True)

    assert assemble(asked, continued, Judging()) == "def f():\n    return 1"
    assert assemble(asked, whole, Judging()) == "f = lambda: 1"


FENCES = {
    "one": ("Sure:\n```python\nx = 1\n```\nDone.", "x = 1\n"),
    "the first of two": ("```python\nx = 1\n```\n```python\nx = 2\n```", "x = 1\n"),
    "none": ("x = 1", "x = 1"),
    "one that never closes": ("```python\nx = 1", "x = 1"),
    "one of another language": ("```sh\nls\n```\n```py\nx = 1\n```", "x = 1\n"),
}


@pytest.mark.parametrize("text, program", FENCES.values(), ids=FENCES)
def test_fenced_extraction_takes_the_code_from_an_answer_with(text, program):
    completion = Completion(task_id="p", text=text, whole=True)

    assert assemble(problem(), completion, Judging(extract="fenced")) == program


def test_the_standard_preamble_puts_typing_and_math_in_scope():
    program = "def f(a: List[int]) -> int: return math.gcd(*a)"
    judging = Judging(preamble="standard", limits=LIMITS)

    assert verdict(program, call([4, 6], expected=2)).outcome is Outcome.FAILED
    assert verdict(program, call([4, 6], expected=2), judging=judging).outcome is Outcome.PASSED


def test_the_preamble_keeps_the_builtin_pow():
    judging = Judging(preamble="standard", limits=LIMITS)

    judged = verdict("def f(): return pow(2, 5, 7)", call(expected=4), judging=judging)

    assert judged.outcome is Outcome.PASSED


def test_lines_of_a_program_count_without_the_preamble():
    judging = Judging(preamble="standard", limits=LIMITS)

    assert verdict("def f(): 1 / 0", call(expected=1), judging=judging).detail.endswith("(line 1)")


def test_verdicts_come_in_the_order_of_the_completions():
    asked = problem(call(expected=1))
    slow_first = ["import time; time.sleep(0.5)\ndef f(): return 1", *["def f(): return 0"] * 9]
    pairs = [(asked, Completion(task_id="p", text=text)) for text in slow_first]

    outcomes = [one.outcome for one in judge_all(pairs, Judging(limits=LIMITS), workers=3)]

    assert outcomes == [Outcome.PASSED, *[Outcome.FAILED] * 9]


def test_stopping_early_ends_the_judge():
    pairs = [(problem(call(expected=1)), Completion(task_id="p", text="def f(): return 1"))] * 50
    verdicts = judge_all(pairs, Judging(limits=LIMITS), workers=2)

    assert next(verdicts).outcome is Outcome.PASSED
    verdicts.close()


def test_no_worker_is_refused():
    with pytest.raises(ValueError, match="workers is 0"):
        next(judge_all([], Judging(), workers=0))
