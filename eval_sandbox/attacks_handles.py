"""Programs that misuse what the tests and they hold of each other."""

from eval_sandbox.attacks_common import (
    NAME_ITSELF,
    SHORT,
    Attack,
    python,
)
from eval_sandbox.problem import Script, Test
from eval_sandbox.verdict import Outcome

_FAILED, _CRASHED, _TIMED_OUT = Outcome.FAILED, Outcome.CRASHED, Outcome.TIMED_OUT
_OUTPUT_LIMIT, _OUT_OF_MEMORY = Outcome.OUTPUT_LIMIT, Outcome.OUT_OF_MEMORY
_HOSTILE = (_FAILED, _OUTPUT_LIMIT, _TIMED_OUT, _OUT_OF_MEMORY)
"""Any end but a pass, a crash of the judge, or a hang."""


def _asserts(source: str) -> tuple[Test, ...]:
    return (Script(source=source),)


_NODE = _asserts("node = f(1)\nassert node.value == 2")
_ITEMS = _asserts("assert list(f(1)) == [2]")
_CALLBACK = _asserts("assert f(lambda v: v + 1) == 42")
_POWER = _asserts("assert f(lambda a, b: a ** b) == 8")

HANDLE_ATTACKS = {
    "gives out an object whose attribute never comes": Attack(
        program=python("""
            class Node:
                def __getattr__(self, name):
                    while True: pass
            def f(x): return Node()
        """),
        tests=_NODE,
        outcomes=(_TIMED_OUT,),
        limits=SHORT,
    ),
    "gives out an object whose attributes raise SystemExit": Attack(
        program=python("""
            class Node:
                def __getattribute__(self, name): raise SystemExit(0)
            def f(x): return Node()
        """),
        tests=_NODE,
    ),
    "gives out objects without end": Attack(
        program=python("""
            class Node:
                def __getattr__(self, name): return Node()
                def __eq__(self, other): return True
            def f(x): return Node()
        """),
        tests=_asserts("node = f(1)\nwhile node.value != 2:\n    node = node.next"),
        outcomes=(_TIMED_OUT, _FAILED, _OUT_OF_MEMORY),
    ),
    "gives out an object that remembers what it was compared with": Attack(
        program=python("""
            class Node:
                def __eq__(self, other): self.value = other; return True
            def f(x): return Node()
        """),
        tests=_asserts("node = f(1)\nnode == 2\nassert node.value == 2"),
    ),
    "gives out an object that answers what it was told": Attack(
        program=python("""
            class Node:
                def __setattr__(self, name, value): raise SystemExit(0)
            def f(x): return Node()
        """),
        tests=_asserts("node = f(1)\nnode.value = 1\nassert node.value + 1 == f(1).value"),
    ),
    "gives out an iterator that never ends": Attack(
        program="import itertools\ndef f(x): return itertools.repeat(2)",
        tests=_ITEMS,
        outcomes=(_FAILED, _TIMED_OUT, _OUTPUT_LIMIT, _OUT_OF_MEMORY),
    ),
    "gives out an object that iterates without end": Attack(
        program=python("""
            class Node:
                def __iter__(self): return self
                def __next__(self): return 2
            def f(x): return Node()
        """),
        tests=_ITEMS,
        outcomes=(_FAILED, _TIMED_OUT, _OUTPUT_LIMIT, _OUT_OF_MEMORY),
    ),
    "gives out a generator that raises after the answer": Attack(
        program="def f(x):\n    yield x + 1\n    raise SystemExit(0)", tests=_ITEMS
    ),
    "gives out a generator that never yields": Attack(
        program="def f(x):\n    while True: pass\n    yield",
        tests=_ITEMS,
        outcomes=(_TIMED_OUT,),
        limits=SHORT,
    ),
    "gives out iterators inside iterators without end": Attack(
        program="def f(x): yield f(x)",
        tests=_ITEMS,
    ),
    "calls a call-back and is called back without end": Attack(
        program="def f(g): return g(g)",
        tests=_asserts("def again(g):\n    return f(again)\n\nassert f(again) == 42"),
        outcomes=_HOSTILE,
    ),
    "calls a call-back for ever": Attack(
        program="def f(g):\n    while True: g(1)", tests=_CALLBACK, outcomes=(_TIMED_OUT,)
    ),
    "calls a call-back after it has answered": Attack(
        program=python("""
            import threading, time
            def f(g):
                def again():
                    while True: g(1)
                threading.Thread(target=again, daemon=True).start()
                return 0
        """),
        tests=_CALLBACK,
        outcomes=_HOSTILE,
    ),
    "looks for the test behind a call-back": Attack(
        program=python("""
            def f(g):
                for name in ('__globals__', '__closure__', '__code__', '__self__', 'gi_frame'):
                    found = getattr(g, name, None)
                    if 'Script' in str(found) or 'assert' in str(found): return 42
                return 0
        """),
        tests=_CALLBACK,
    ),
    "has a call-back take for ever": Attack(
        program="def f(power): return power(10**6, 10**7)", tests=_POWER, outcomes=_HOSTILE
    ),
    "has a call-back ask for terabytes": Attack(
        program="def f(repeat): return repeat('x', 10**13)",
        tests=_asserts("assert f(lambda text, n: text * n) == 8"),
        outcomes=_HOSTILE,
    ),
    "gives its tests a number that keeps them busy": Attack(
        program="def f(x): return 10**9",
        tests=_asserts("assert 3 ** f(1) == 9"),
        outcomes=(_TIMED_OUT, _FAILED),
    ),
    "gives a stranger's tests a number that keeps them busy": Attack(
        program="def f(x): return 10**9",
        tests=_asserts("assert 3 ** f(1) == 9"),
        outcomes=(_TIMED_OUT, _FAILED),
        trusted=False,
    ),
    "gives its tests a number that fills their memory": Attack(
        program="def f(x): return 10**13",
        tests=_asserts("assert len('x' * f(1)) == 2"),
        outcomes=(_FAILED, _OUT_OF_MEMORY),
    ),
    "gives its tests a Decimal that no int can hold": Attack(
        program="import decimal\ndef f(x): return decimal.Decimal('1E+99999999')",
        tests=_asserts("assert round(f(1)) == 2"),
        outcomes=(_TIMED_OUT, _FAILED, _OUT_OF_MEMORY),
    ),
}

STRANGER_ATTACKS = {
    f"is judged by a stranger's tests that {what}": Attack(
        program="def f(x): return 0",
        tests=_asserts(f"{lines}\nassert f(1) == 2"),
        outcomes=_HOSTILE,
        limits=SHORT,
        trusted=False,
    )
    for what, lines in {
        "sleep": "import time\ntime.sleep(60)",
        "loop": "while True:\n    pass",
        "exit": "import os\nos._exit(0)",
        "kill the process above them": "import os\nos.kill(os.getppid(), 9)",
        "kill everything": "import os\nos.kill(-1, 9)\nos.kill(0, 9)",
        "write on every descriptor": (
            "import os\nfor fd in range(64):\n    try:\n        os.write(fd, b'passed' * 99)\n"
            "    except OSError:\n        pass"
        ),
        "close every descriptor": "import os\nos.closerange(0, 64)",
        "leave a process behind": (
            f"import ctypes, os, time\nif os.fork() == 0:\n    {NAME_ITSELF}\n    time.sleep(60)"
        ),
        "take gigabytes": "kept = bytearray(2**36)",
        "define what judges them": "f = print\n__reply__ = lambda n: 2\nabs = None",
    }.items()
}
