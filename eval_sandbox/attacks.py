"""Programs that are wrong, or that try to get out: each attacks one property.

They are written so that success shows in the verdict: a program that reaches what it should not
reach returns the right answer, one that is contained returns a wrong one. So an attack got
through when its outcome is not among the expected ones.
"""

from dataclasses import dataclass

from eval_sandbox.contract import Limits
from eval_sandbox.problem import Call, Dialogue, Script, Test
from eval_sandbox.verdict import Outcome

_QUICK = Limits(cpu_seconds=1.0, wall_seconds=15.0, memory_mib=512)
_SHORT = Limits(cpu_seconds=1.0, wall_seconds=1.5, memory_mib=512)

CALLS: tuple[Test, ...] = tuple(Call(args=(x,), kwargs={}, expected=x + 1) for x in (1, 41))
ASSERTS: tuple[Test, ...] = (Script(source="assert f(1) == 2"), Script(source="assert f(41) == 42"))
DIALOGUE: tuple[Test, ...] = (Dialogue(stdin="1\n", stdout="2\n"),)

MARKER = "@MARKER@"
"""In a program: replaced by a random word that no process of the host may carry afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One program and the outcomes that show it was withstood."""

    program: str
    tests: tuple[Test, ...] = CALLS
    outcomes: tuple[Outcome, ...] = (Outcome.FAILED,)
    limits: Limits = _QUICK
    before: str = ""
    """A program judged just before, by which another candidate prepares the attack."""


_REACH = """
def f(x):
    try:
        {}
    except BaseException as refused:
        return repr(refused)
    return x + 1
"""


def _reach(*lines: str) -> str:
    """A program that is right only if none of `lines` raises."""
    return _REACH.format("\n        ".join(lines))


def _forge(*lines: str) -> str:
    """A program that writes `lines` to whatever is open, and leaves."""
    return (
        f"import os\nfor fd in range(64):\n    for line in {lines}:\n"
        "        try: os.write(fd, line.encode() + b'\\n')\n"
        "        except OSError: pass\nos._exit(0)"
    )


_FAILED, _CRASHED, _TIMED_OUT = Outcome.FAILED, Outcome.CRASHED, Outcome.TIMED_OUT

VERDICT_ATTACKS = {
    "exits with status 0 at import": Attack(program="import os; os._exit(0)", tests=ASSERTS),
    "calls sys.exit(0) at import": Attack(program="import sys; sys.exit(0)", tests=ASSERTS),
    "exits with status 0 inside the call": Attack(
        program="import os\ndef f(x): os._exit(0)", tests=ASSERTS
    ),
    "exits with status 0 inside a call whose result is asked for": Attack(
        program="import os\ndef f(x): os._exit(0)"
    ),
    "exits with status 0 from atexit": Attack(
        program="import atexit, os, sys\natexit.register(os._exit, 0)\ndef f(x): sys.exit(1)",
        tests=ASSERTS,
    ),
    "raises KeyboardInterrupt": Attack(program="def f(x): raise KeyboardInterrupt", tests=ASSERTS),
    "raises a BaseException of its own": Attack(
        program="class Gone(BaseException): pass\ndef f(x): raise Gone", tests=ASSERTS
    ),
    "returns an object that equals everything": Attack(
        program="class Any:\n    def __eq__(self, other): return True\ndef f(x): return Any()"
    ),
    "returns an int that equals everything": Attack(
        program="class Any(int):\n    def __eq__(self, other): return True\ndef f(x): return Any()"
    ),
    "returns a list whose length and items lie": Attack(
        program="class Any(list):\n    def __eq__(self, o): return True\n"
        "    def __iter__(self): return iter([2])\ndef f(x): return Any([0])"
    ),
    "forges success on every descriptor": Attack(program=_forge('["value",0,true]', "passed")),
    "forges success of its asserts on every descriptor": Attack(
        program=_forge('["passed",0,""]', '["passed",1,""]'), tests=ASSERTS
    ),
    "replaces the builtins that compare": Attack(
        program="import builtins\nfor name in ('isinstance', 'type', 'repr', 'int', 'all'):\n"
        "    setattr(builtins, name, lambda *a, **k: True)\ndef f(x): return 0"
    ),
    "closes every descriptor": Attack(
        program="import os\nos.closerange(0, 64)\ndef f(x): return x + 1"
    ),
    "raises an exception whose message raises": Attack(
        program="class Bad(Exception):\n    def __str__(self): raise SystemExit(0)\n"
        "def f(x): raise Bad",
        tests=ASSERTS,
    ),
    "returns a generator": Attack(program="def f(x): yield x + 1"),
    "returns itself inside itself": Attack(program="a = []; a.append(a)\ndef f(x): return a"),
    "reads an answer from standard input": Attack(program="def f(x): return int(input())"),
    "prints the answer it hopes for and fails": Attack(
        program="print(2, flush=True); raise SystemExit(1)", tests=DIALOGUE
    ),
}

TIME_AND_SPACE_ATTACKS = {
    "sleeps": Attack(
        program="import time\ndef f(x): time.sleep(60)", outcomes=(_TIMED_OUT,), limits=_SHORT
    ),
    "stops its own process group": Attack(
        program="import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        outcomes=(_TIMED_OUT,),
        limits=_SHORT,
    ),
    "loops for ever": Attack(program="while True: pass", outcomes=(_TIMED_OUT,)),
    "loops in C": Attack(
        program="import itertools\ndef f(x): return max(itertools.repeat(0))",
        outcomes=(_TIMED_OUT,),
    ),
    "ignores every signal": Attack(
        program="import signal\nfor n in signal.valid_signals():\n"
        "    try: signal.signal(n, signal.SIG_IGN)\n    except OSError: pass\nwhile True: pass",
        outcomes=(_TIMED_OUT,),
    ),
    "swallows every exception": Attack(
        program="def f(x):\n    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass",
        outcomes=(_TIMED_OUT,),
    ),
    "takes gigabytes": Attack(
        program="def f(x): return len(bytearray(2**31))", outcomes=(Outcome.OUT_OF_MEMORY,)
    ),
    "takes memory bit by bit": Attack(
        program="kept = []\nwhile True: kept.append(bytearray(2**24))",
        outcomes=(Outcome.OUT_OF_MEMORY,),
    ),
    "floods standard output": Attack(
        program="while True: print('x' * 10_000)", outcomes=(Outcome.OUTPUT_LIMIT,)
    ),
    "floods standard error": Attack(
        program="import os\nwhile True: os.write(2, b'x' * 10_000)",
        outcomes=(Outcome.OUTPUT_LIMIT,),
    ),
    "returns a huge value": Attack(
        program="def f(x): return 'x' * 10**7", outcomes=(Outcome.OUTPUT_LIMIT,)
    ),
    "recurses deeply": Attack(program="def f(x): return f(x)"),
    "overflows the C stack": Attack(
        program="import sys\nsys.setrecursionlimit(10**9)\nclass A:\n"
        "    def __getattr__(self, n): return getattr(self, n + 'x')\ndef f(x): return A().b",
        outcomes=(_FAILED, _CRASHED, Outcome.OUT_OF_MEMORY, _TIMED_OUT),
    ),
    "forks without end": Attack(
        program="import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        outcomes=(_TIMED_OUT, _FAILED),
        limits=_SHORT,
    ),
    "forks a hundred processes": Attack(
        program="import os, time\ndef f(x):\n    made = 0\n    try:\n        while made < 100:\n"
        "            if os.fork() == 0: time.sleep(60)\n            made += 1\n"
        "    except OSError: pass\n    return x + 1 if made > 50 else -made"
    ),
    "starts a hundred threads": Attack(
        program="import threading, time\ndef f(x):\n    for _ in range(100):\n"
        "        threading.Thread(target=time.sleep, args=(60,)).start()\n    return x + 1"
    ),
    "fills the disk with one file": Attack(
        program=_reach("kept = open('big', 'wb')", "kept.write(bytes(2**25)); kept.flush()")
    ),
    "fills the disk with many files": Attack(
        program=_reach("for n in range(64): open(str(n), 'wb').write(bytes(2**20))")
    ),
    "raises its own limits": Attack(
        program=_reach("import resource", "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))")
    ),
}

CONTAINMENT_ATTACKS = {
    "leaves a daemon behind": Attack(
        program="import os, sys\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(60)', "
        f"'{MARKER}'])\ndef f(x): return 0"
    ),
    "kills its parent and everything else": Attack(
        program="import os, signal\nfor pid in (1, os.getppid(), 0, -1):\n"
        "    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):\n"
        "        try: os.kill(pid, number)\n        except OSError: pass\ndef f(x): return x + 1",
        outcomes=(_FAILED, _CRASHED),
    ),
    "limits the supervisor to death": Attack(
        program="import resource, time\nresource.prlimit(1, resource.RLIMIT_CPU, (0, 0))\n"
        "time.sleep(0.2)\ndef f(x): return 0",
        outcomes=(_FAILED, _CRASHED),
    ),
    "reaches the network": Attack(
        program=_reach(
            "import socket",
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 9))",
        )
    ),
    "reads the users of the host": Attack(program=_reach("open('/etc/passwd').read()")),
    "lists the home folders": Attack(
        program=_reach("import os", "assert os.listdir('/home') or os.listdir('/root')")
    ),
    "reads secrets from the environment": Attack(
        program=_reach("import os", "assert set(os.environ) - {'HOME', 'LANG', 'LC_CTYPE', 'PWD'}")
    ),
    "looks at other processes": Attack(program=_reach("import os", "assert os.listdir('/proc')")),
    "searches the disk for the benchmark": Attack(
        program="import os\ndef f(x):\n    for folder, _, files in os.walk('/'):\n"
        "        if folder.endswith('-packages') and files: return x + 1\n"
        "        if any('.jsonl' in n or n == 'self_check.py' for n in files): return x + 1\n"
        "    return 0",
        limits=Limits(cpu_seconds=5.0, wall_seconds=30.0),
    ),
    "finds what another candidate left": Attack(
        before="import os\nfor folder in ('/', '/tmp', '/dev', '/dev/shm', '/var/tmp', '.'):\n"
        "    try: open(folder + '/left', 'w').close()\n    except OSError: pass\n",
        program="import os\ndef f(x):\n"
        "    found = [d for d in ('/', '/tmp', '/dev', '/dev/shm', '/var/tmp', '.')"
        " if os.path.exists(d + '/left')]\n    return x + 1 if found else 0",
    ),
    "writes outside its own folder": Attack(
        program="import os\ndef f(x):\n"
        "    for folder in ('/', '/dev', os.path.dirname(os.__file__)):\n"
        "        try: open(folder + '/mine', 'w').close(); return x + 1\n"
        "        except OSError: pass\n    return 0"
    ),
    "starts a shell": Attack(
        program=_reach("import subprocess", "subprocess.run(['/bin/sh', '-c', 'true'], check=True)")
    ),
    "becomes root": Attack(program=_reach("import os", "os.setuid(0)")),
    "makes a namespace where it is root": Attack(
        program=_reach("import ctypes", "assert ctypes.CDLL(None).unshare(0x10000000) == 0")
    ),
    "leaves a thread that never ends": Attack(
        program="import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n"
        "def f(x): return 0"
    ),
}

ATTACKS: dict[str, Attack] = VERDICT_ATTACKS | TIME_AND_SPACE_ATTACKS | CONTAINMENT_ATTACKS
