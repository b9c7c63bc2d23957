"""Programs that want more time, memory, output or processes than they were given."""

from dataclasses import replace

from eval_sandbox.attacks_common import DIALOGUE, QUICK, SHORT, Attack, python, reach
from eval_sandbox.verdict import Outcome

_FAILED, _CRASHED, _TIMED_OUT = Outcome.FAILED, Outcome.CRASHED, Outcome.TIMED_OUT
_OUTPUT_LIMIT, _OUT_OF_MEMORY = Outcome.OUTPUT_LIMIT, Outcome.OUT_OF_MEMORY


_HALF = replace(QUICK, cpu_seconds=0.5)


def _endless(text: str) -> Attack:
    """A program that computes without end."""
    return Attack(program=python(text), outcomes=(_TIMED_OUT,), limits=_HALF)


def _waiting(text: str) -> Attack:
    """A program that waits without end."""
    return Attack(program=python(text), outcomes=(_TIMED_OUT,), limits=SHORT)


TIME_ATTACKS = {
    "sleeps": _waiting("import time\ndef f(x): time.sleep(60)"),
    "waits for a pipe that nobody writes": _waiting(
        "import os\ngiven, _ = os.pipe()\ndef f(x): return os.read(given, 1)"
    ),
    "waits for a lock that it holds": _waiting("""
        import threading
        lock = threading.Lock()
        def f(x):
            with lock, lock: return x + 1
    """),
    "stops its own process group": replace(
        _waiting("import os, signal\nos.kill(0, signal.SIGSTOP)\ndef f(x): return 0"),
        outcomes=(_TIMED_OUT, _FAILED),
    ),
    "sleeps in a thread when all is said": replace(
        _waiting("import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()"),
        tests=DIALOGUE,
    ),
    "loops for ever": replace(_endless("while True: pass"), limits=QUICK),
    "loops in C": _endless("import itertools\ndef f(x): return max(itertools.repeat(0))"),
    "matches a regular expression for ever": _endless("""
        import re
        def f(x): return re.match('(a+)+$', 'a' * 99 + 'b')
    """),
    "prints an int of a hundred million bits": _endless("""
        import sys
        sys.set_int_max_str_digits(0)
        def f(x): return len(str((1 << 10**8) - 1))
    """),
    "ignores every signal": _endless("""
        import signal
        for number in signal.valid_signals():
            try: signal.signal(number, signal.SIG_IGN)
            except OSError: pass
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True: pass
    """),
    "swallows every exception": _endless("""
        def f(x):
            while True:
                try:
                    while True: pass
                except BaseException: pass
    """),
    "loops in a thread that never lets go": _endless("""
        import sys, threading
        sys.setswitchinterval(1e9)
        def loop():
            while True: pass
        def f(x):
            threading.Thread(target=loop).start()
            while True: pass
    """),
    "loops when it is taken apart": _endless("""
        class Last:
            def __del__(self):
                while True: pass
        def f(x): Last()
    """),
    "spends its time in children": Attack(
        program=python("""
            import os, time
            def f(x):
                while True:
                    if os.fork() == 0:
                        began = time.process_time()
                        while time.process_time() < began + 0.3: pass
                        os._exit(0)
                    os.wait()
        """),
        outcomes=(_TIMED_OUT,),
        limits=_HALF,
    ),
    "spends its time in children that nobody counts": Attack(
        program=python("""
            import os, signal, time
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            def f(x):
                while True:
                    try:
                        if os.fork() == 0:
                            began = time.process_time()
                            while time.process_time() < began + 0.01: pass
                            os._exit(0)
                    except OSError: pass
                    time.sleep(0.01)
        """),
        outcomes=(_TIMED_OUT,),
        limits=SHORT,
    ),
    "lowers its own limit, to be killed as if from outside": Attack(
        program=python("""
            import resource
            resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
            while True: pass
        """),
        outcomes=(_TIMED_OUT, _CRASHED, _FAILED),
        limits=replace(QUICK, cpu_seconds=3.0),
    ),
    "kills itself by every signal": Attack(
        program=python("""
            import os, signal
            def f(x):
                for number in signal.valid_signals():
                    if number not in (signal.SIGSTOP, signal.SIGTSTP):
                        os.kill(os.getpid(), number)
        """),
        outcomes=(_FAILED, _CRASHED),
    ),
    "has an alarm kill it": Attack(
        program=python("""
            import signal, time
            def f(x):
                for which in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
                    signal.setitimer(which, 0.01)
                began = time.monotonic()
                while time.monotonic() < began + 0.1: pass
                return 0
        """),
        outcomes=(_FAILED, _CRASHED),
    ),
    "raises its own limits": Attack(
        program=reach("import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))")
    ),
    "gives itself more time": Attack(
        program=reach("import resource\nresource.setrlimit(resource.RLIMIT_CPU, (-1, -1))")
    ),
    "gives itself more processes": Attack(
        program=reach("import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (9999, 9999))")
    ),
    "gives itself longer files": Attack(
        program=reach("import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))")
    ),
    "takes the time of everybody else": Attack(
        program=reach("import os\nassert os.nice(-5) < os.nice(0) + 5")
    ),
    "makes itself a real-time process": Attack(
        program=reach("import os\nos.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))")
    ),
}

SPACE_ATTACKS = {
    "takes gigabytes": Attack(
        program="def f(x): return len(bytearray(2**31))", outcomes=(_OUT_OF_MEMORY,)
    ),
    "takes memory bit by bit": Attack(
        program="kept = []\nwhile True: kept.append(bytearray(2**24))",
        outcomes=(_OUT_OF_MEMORY,),
    ),
    "takes memory in many processes": Attack(
        program=python("""
            import os, time
            def f(x):
                out, into = os.pipe()
                for _ in range(6):
                    if os.fork() == 0:
                        kept = b'x' * (100 << 20)
                        os.write(into, b'.')
                        time.sleep(60)
                for _ in range(3):
                    os.read(out, 1)
                time.sleep(1)
                return x + 1
        """),
        outcomes=(_OUT_OF_MEMORY,),
        limits=replace(QUICK, memory_mib=256),
    ),
    "takes memory in pipes": Attack(
        program=python("""
            import fcntl, os
            def f(x):
                filled = 0
                for _ in range(200):
                    out, into = os.pipe()
                    os.set_blocking(into, False)
                    fcntl.fcntl(into, 1031, 1 << 20)
                    filled += os.write(into, bytes(1 << 20))
                return x + 1
        """)
    ),
    "floods standard output": Attack(
        program="while True: print('x' * 10_000)", outcomes=(_OUTPUT_LIMIT, _FAILED)
    ),
    "floods standard error": Attack(
        program="import os\nwhile True: os.write(2, b'x' * 10_000)",
        outcomes=(_OUTPUT_LIMIT, _FAILED),
    ),
    "floods standard output in a dialogue": Attack(
        program="print(2)\nwhile True: print('x' * 10_000)",
        tests=DIALOGUE,
        outcomes=(_OUTPUT_LIMIT, _FAILED),
    ),
    "prints megabytes and leaves": Attack(
        program="print('2\\n' + '\\n' * 10**6)", tests=DIALOGUE, outcomes=(_OUTPUT_LIMIT,)
    ),
    "makes its output a huge file with a hole": Attack(
        program="import os\nprint(2, flush=True)\nfor fd in (1, 2): os.truncate(fd, 10**7)",
        tests=DIALOGUE,
        outcomes=(_OUTPUT_LIMIT, _FAILED),
    ),
    "returns a huge value": Attack(
        program="def f(x): return 'x' * 10**8", outcomes=(_OUTPUT_LIMIT,)
    ),
    "returns a value that grows as it is written out": Attack(
        program="def f(x):\n    a = 'ten'\n    for _ in range(40): a = [a] * 9\n    return a",
        outcomes=(_OUTPUT_LIMIT, _FAILED, _TIMED_OUT),
    ),
    "recurses deeply": Attack(program="def f(x): return f(x)"),
    "overflows the C stack": Attack(
        program=python("""
            import sys
            sys.setrecursionlimit(10**9)
            class A:
                def __getattr__(self, name): return getattr(self, name + 'x')
            def f(x): return A().b
        """),
        outcomes=(_FAILED, _CRASHED, _OUT_OF_MEMORY, _TIMED_OUT),
    ),
    "is nested too deeply to be compiled": Attack(
        program="def f(x): return " + "(" * 20_000 + "x" + ")" * 20_000,
        outcomes=(_FAILED, _CRASHED, _OUT_OF_MEMORY),
    ),
    "takes gigabytes to be compiled": Attack(
        program="def f(x): return x + 1 if len(((1,) * 10**4,) * 10**5) else 0\n"
        "kept = 'x' * 10**10",
        outcomes=(_OUT_OF_MEMORY, _FAILED),
    ),
    "forks without end": Attack(
        program="import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        outcomes=(_TIMED_OUT, _FAILED),
        limits=SHORT,
    ),
    "forks a hundred processes": Attack(
        program=python("""
            import os, time
            def f(x):
                made = 0
                try:
                    while made < 100:
                        if os.fork() == 0: time.sleep(60)
                        made += 1
                except OSError: pass
                return x + 1 if made > 50 else -made
        """)
    ),
    "starts a hundred threads": Attack(
        program=python("""
            import threading, time
            def f(x):
                for _ in range(100): threading.Thread(target=time.sleep, args=(60,)).start()
                return x + 1
        """)
    ),
    "opens a thousand files": Attack(
        program=reach("import os\nkept = [os.open('/dev/null', 0) for _ in range(1000)]")
    ),
    "fills the disk with one file": Attack(
        program=reach("kept = open('big', 'wb')\nkept.write(bytes(2**25)); kept.flush()")
    ),
    "fills the disk with many files": Attack(
        program=reach("for n in range(64): open(str(n), 'wb').write(bytes(2**20))")
    ),
    "fills the disk by one system call": Attack(
        program=reach("import os\nos.posix_fallocate(os.open('big', 0o102), 0, 2**25)")
    ),
    "fills the disk with empty files": Attack(
        program=reach("for n in range(20_000): open(str(n), 'w').close()")
    ),
    "makes a file of an exabyte": Attack(
        program=reach("with open('big', 'wb') as file: file.truncate(2**60)")
    ),
}

TIME_AND_SPACE_ATTACKS = {**TIME_ATTACKS, **SPACE_ATTACKS}
