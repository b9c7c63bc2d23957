"""Wrong programs that want to be judged right."""

from eval_sandbox.attacks_common import (
    DIALOGUE,
    FIND_SECRET,
    FORMS,
    SECRET,
    SECRET_FORMS,
    SHORT,
    Attack,
    in_forms,
    python,
)
from eval_sandbox.attacks_endings import EXIT_ATTACKS, RAISE_ATTACKS
from eval_sandbox.attacks_secrets import SECRET_ATTACKS
from eval_sandbox.attacks_values import RETURN_ATTACKS
from eval_sandbox.problem import Call, Dialogue, Script, Test
from eval_sandbox.verdict import Outcome

_FAILED, _CRASHED, _TIMED_OUT = Outcome.FAILED, Outcome.CRASHED, Outcome.TIMED_OUT


def _asserts(*sources: str) -> tuple[Test, ...]:
    return tuple(Script(source=source) for source in sources)


TAMPER_ATTACKS = {
    "replaces the builtins that compare": Attack(
        program=python("""
            import builtins
            for name in ('isinstance', 'type', 'repr', 'int', 'all', 'abs', 'len', 'sorted'):
                setattr(builtins, name, lambda *a, **k: True)
            def f(x): return 0
        """),
        outcomes=(_FAILED, _CRASHED, _TIMED_OUT),
        limits=SHORT,
    ),
    "replaces the functions that read and write": Attack(
        program=python("""
            import os, select, struct
            write = os.write
            os.write = lambda fd, data: write(fd, bytes(data).replace(b'\\0', b'\\2'))
            os.read = lambda fd, size: b'passed'
            struct.pack = struct.unpack = lambda *a: b''
            select.poll = None
            def f(x): return 0
        """),
        outcomes=(_FAILED, _CRASHED, _TIMED_OUT, Outcome.OUTPUT_LIMIT),
        limits=SHORT,
    ),
    "replaces every function it can find": Attack(
        program=python("""
            import gc, types
            def true(*a, **k): return True
            for found in gc.get_objects():
                if isinstance(found, types.FunctionType) and found is not true:
                    if found.__name__ in ('same', 'judge', 'check', 'encode', 'decode', 'main'):
                        try: found.__code__ = true.__code__
                        except ValueError: pass
            def f(x): return 0
        """),
        outcomes=(_FAILED, _CRASHED, _TIMED_OUT),
        limits=SHORT,
    ),
    "hooks what is imported later": Attack(
        program=python("""
            import builtins, sys
            class Finder:
                def find_spec(self, *a): raise SystemExit(0)
            sys.meta_path.insert(0, Finder())
            builtins.__import__ = lambda *a, **k: sys.exit(0)
            sys.modules.clear()
            def f(x): return 0
        """)
    ),
    "jumps over the asserts by a trace function": Attack(
        program=python("""
            import sys
            def trace(frame, event, arg):
                code = frame.f_code
                if event == 'line' and code.co_name == 'check':
                    lines = [n for *_, n in code.co_lines() if n]
                    if frame.f_lineno < max(lines):
                        try: frame.f_lineno = max(lines)
                        except ValueError: pass
                return trace
            sys.settrace(trace)
            frame = sys._getframe()
            while frame:
                frame.f_trace = trace
                frame = frame.f_back
            def f(x): return 0
        """)
    ),
    "answers from a profile function": Attack(
        program=python("""
            import sys
            def profile(frame, event, arg):
                if event == 'return' and 'f' not in frame.f_code.co_name: raise SystemExit(0)
            def f(x):
                sys.setprofile(profile)
                return 0
        """)
    ),
    "makes two equal to seven by ctypes": Attack(
        program=python("""
            import ctypes
            def f(x):
                for number in (2, 42):
                    ctypes.c_uint32.from_address(id(number) + 24).value = 7
                return 7
        """),
        outcomes=(_FAILED, _CRASHED, _TIMED_OUT),
        limits=SHORT,
    ),
    "changes the variables of its callers": Attack(
        program=python("""
            import ctypes, sys
            def f(x):
                frame = sys._getframe(1)
                while frame:
                    for name in list(frame.f_locals):
                        if name.startswith(('expect', 'passed', 'result', 'ok', 'failed')):
                            frame.f_locals[name] = 0
                            ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), 0)
                    frame = frame.f_back
                return 0
        """)
    ),
    "defines the functions that judge it": Attack(
        program=python("""
            import builtins
            def check(candidate): pass
            def __reply__(n): return (2, 42)[n]
            def same(*a): return True
            builtins.check, builtins.__reply__, builtins.candidate = check, __reply__, abs
            def f(x): return 0
        """)
    ),
    "forges success on every descriptor": Attack(
        program=python("""
            import os
            for fd in range(64):
                for line in ('["value",0,true]', '["passed",0,""]', 'passed', 'OK', '1', ''):
                    try: os.write(fd, line.encode() + b'\\n')
                    except OSError: pass
            os._exit(0)
        """),
        outcomes=(_FAILED, Outcome.OUTPUT_LIMIT),
    ),
    "closes every descriptor": Attack(
        program="import os\nos.closerange(0, 64)\ndef f(x): return 0"
    ),
    "reads an answer from standard input": Attack(program="def f(x): return int(input())"),
    "is right for the first call only": Attack(
        program=python("""
            asked = []
            def f(x):
                asked.append(x)
                return x + 1 if len(asked) == 1 else x
        """)
    ),
    "knows its judge by its descriptors and then is wrong": Attack(
        program=python("""
            import os, sys
            def judged():
                try: return bool(os.fstat(3) and os.fstat(4))
                except OSError: return 'pytest' in sys.modules or sys.gettrace()
            def f(x): return 0 if judged() else x + 1
        """),
        outcomes=(_FAILED, Outcome.PASSED),
    ),
    "lowers the recursion limit under its caller": Attack(
        program=python("""
            import sys, threading
            def f(x):
                sys.setrecursionlimit(len(__import__('inspect').stack()) + 6)
                return 0
        """)
    ),
}

_SHARED_LIST = [1, 2]

TEST_ATTACKS = {
    "returns a number near to everything": Attack(
        program=python("""
            class Near(float):
                def __sub__(self, other): return self
                __rsub__ = __abs__ = __float__ = lambda self, *a: self
                def __lt__(self, other): return True
                __le__ = __gt__ = __ge__ = __eq__ = __lt__
            def f(x): return Near(1e9)
        """),
        tests=_asserts("import math\nassert abs(f(1) - 2) < 1e-6 or math.isclose(f(1), 2)"),
    ),
    "redefines what its tests compare with": Attack(
        program=python("""
            import builtins, math
            def abs(x): return 0
            def sorted(x): return [2]
            builtins.abs, builtins.sorted = abs, sorted
            math.isclose = lambda *a, **k: True
            def f(x): return [7]
        """),
        tests=_asserts("import math\nassert sorted(f(1)) == [2]", "assert abs(f(1)[0] - 2) < 1e-6"),
    ),
    "redefines a helper of its tests": Attack(
        program=python("""
            import builtins, sys
            builtins.right = lambda *a: True
            def f(x):
                frame = sys._getframe()
                while frame := frame.f_back: frame.f_globals['right'] = builtins.right
                return 0
        """),
        tests=_asserts(
            "def right(x, y):\n    return x + 1 == y\n\ndef check(candidate):\n"
            "    y = candidate(1)\n    assert right(1, y)\n\ncheck(f)"
        ),
    ),
    "foretells the random numbers of its tests": Attack(
        program=python("""
            import random
            random.randint = lambda a, b: 1
            random.seed = lambda *a: None
            def f(x): return 2
        """),
        tests=_asserts(
            "import random\nfor _ in range(9):\n    x = random.randint(0, 10**6)\n"
            "    assert f(x) == x + 1"
        ),
    ),
    "changes its argument, which is also what is expected": Attack(
        program="def f(x):\n    x[:] = [0]\n    return x",
        tests=(Call(args=(_SHARED_LIST,), kwargs={}, expected=_SHARED_LIST),),
    ),
    "returns True where 1 is expected": Attack(
        program="def f(x): return True", tests=(Call(args=(0,), kwargs={}, expected=1),)
    ),
    "stops the iteration that tests it": Attack(
        program="def f(x): raise StopIteration",
        tests=_asserts("assert all(map(lambda x: f(x) == x + 1, (1, 41)))"),
    ),
    "is taken for true where an answer is expected": Attack(
        program=python("""
            class Any:
                def __bool__(self): return True
                def __len__(self): return 2
                def __contains__(self, x): return True
                def __getitem__(self, x): return 2
                def __str__(self): return '2'
                def __gt__(self, other): return True
                __hash__ = object.__hash__
                __eq__ = __ge__ = __lt__ = __gt__
            def f(x): return Any()
        """),
        tests=_asserts(
            "r = f(1)\nassert r > 1 or len(r) == 2 or 2 in r or r[0] == 2 or str(r) == '2'"
        ),
    ),
    "makes two answers one by their hashes": Attack(
        program=python("""
            class Any:
                def __hash__(self): return 0
                def __eq__(self, other): return True
            def f(x): return Any()
        """),
        tests=_asserts("assert len({f(1), f(2), f(3)}) == 1"),
    ),
    "fails while its tests swallow exceptions": Attack(
        program="import os\ndef f(x): os._exit(0)",
        tests=_asserts("try:\n    assert f(1) == 2\nexcept Exception:\n    pass"),
    ),
    "leaves a right answer in a message that is too long": Attack(
        program="def f(x): return 1 << 99_999",
        tests=_asserts("r = f(1)\nassert r == 2, r"),
    ),
    "prints the answer it hopes for and fails": Attack(
        program="print(2, flush=True); raise SystemExit(1)", tests=DIALOGUE
    ),
    "prints the answer it hopes for and dies": Attack(
        program="import ctypes\nprint(2, flush=True)\nctypes.string_at(0)",
        tests=DIALOGUE,
        outcomes=(_FAILED, _CRASHED),
    ),
    "writes a right answer where its replies go": Attack(
        program="import os\nfor fd in (0, 2, 3, 4):\n    try: os.write(fd, b'2\\n')\n"
        "    except OSError: pass",
        tests=DIALOGUE,
    ),
    "reads in its input what it should print": Attack(
        program=python(f"""
            import os, re
            seen = ''
            for fd in (0, 1, 2, 3):
                try: seen += os.pread(fd, 65536, 0).decode('latin-1')
                except OSError: pass
            print(*{FIND_SECRET}.findall(seen))
        """),
        tests=(Dialogue(stdin="1\n", stdout=f"{SECRET}\n"),),
    ),
}

VERDICT_ATTACKS = {
    **in_forms(FORMS, EXIT_ATTACKS | RAISE_ATTACKS | RETURN_ATTACKS | TAMPER_ATTACKS),
    **in_forms(SECRET_FORMS, SECRET_ATTACKS),
    **TEST_ATTACKS,
}
