"""Programs that leave, or raise, where an answer is asked for."""

from eval_sandbox.attacks_common import Attack, python
from eval_sandbox.verdict import Outcome

EXIT_ATTACKS = {
    "exits with status 0 at import": Attack(program="import os; os._exit(0)"),
    "calls sys.exit(0) at import": Attack(program="import sys; sys.exit(0)"),
    "exits with status 0 inside the call": Attack(program="import os\ndef f(x): os._exit(0)"),
    "calls sys.exit(0) inside the call": Attack(program="import sys\ndef f(x): sys.exit(0)"),
    "exits with status 0 from atexit": Attack(
        program=python("""
            import atexit, os, sys
            atexit.register(os._exit, 0)
            def f(x): sys.exit(1)
        """)
    ),
    "exits with status 0 from a thread": Attack(
        program=python("""
            import os, threading
            def f(x):
                thread = threading.Thread(target=os._exit, args=(0,))
                thread.start()
                thread.join()
        """)
    ),
    "exits with status 0 when its exception is shown": Attack(
        program=python("""
            import os, sys, threading
            sys.excepthook = sys.unraisablehook = threading.excepthook = lambda *a: os._exit(0)
            def f(x): raise ValueError
        """)
    ),
    "exits with status 0 at the next audited event": Attack(
        program=python("""
            import os, sys
            def f(x):
                sys.addaudithook(lambda *event: os._exit(0))
                return 0
        """)
    ),
    "exits with status 0 when garbage is collected": Attack(
        program=python("""
            import gc, os
            gc.callbacks.append(lambda *a: os._exit(0))
            gc.set_threshold(1)
            def f(x): return 0
        """)
    ),
    "exits with status 0 when it is taken apart": Attack(
        program=python("""
            import os
            class Last:
                def __del__(self): os._exit(0)
            last = Last()
            def f(x):
                global last
                del last
        """)
    ),
    "leaves by a signal handler while it is asked": Attack(
        program=python("""
            import signal, time
            def leave(number, frame): raise SystemExit(0)
            def f(x):
                signal.signal(signal.SIGALRM, leave)
                signal.setitimer(signal.ITIMER_REAL, 0.002)
                while True: pass
        """)
    ),
    "is answered for by parent and child": Attack(
        program="import os\ndef f(x):\n    os.fork()\n    return 0"
    ),
    "lets a child exit in its place": Attack(
        program=python("""
            import os
            def f(x):
                if os.fork() == 0: os._exit(0)
                os.wait()
                os._exit(0)
        """)
    ),
}

RAISE_ATTACKS = {
    "raises KeyboardInterrupt": Attack(program="def f(x): raise KeyboardInterrupt"),
    "raises GeneratorExit": Attack(program="def f(x): raise GeneratorExit"),
    "raises StopIteration": Attack(program="def f(x): raise StopIteration(x + 1)"),
    "raises MemoryError without need": Attack(
        program="def f(x): raise MemoryError", outcomes=(Outcome.FAILED, Outcome.OUT_OF_MEMORY)
    ),
    "raises a BaseException of its own": Attack(
        program="class Gone(BaseException): pass\ndef f(x): raise Gone"
    ),
    "raises exceptions named like the judge's": Attack(
        program=python("""
            class OverError(BaseException): pass
            class SandboxFailureError(OverError): pass
            class CandidatesGoneError(SandboxFailureError): pass
            def f(x): raise CandidatesGoneError("the candidates' server is gone")
        """)
    ),
    "raises an exception whose message raises": Attack(
        program=python("""
            class Bad(Exception):
                def __str__(self): raise SystemExit(0)
            def f(x): raise Bad
        """)
    ),
    "raises an exception whose message exits": Attack(
        program=python("""
            import os
            class Bad(Exception):
                def __str__(self): os._exit(0)
                __repr__ = __str__
            def f(x): raise Bad
        """)
    ),
    "raises an exception whose message is no plain string": Attack(
        program=python("""
            class Text(str):
                def __getitem__(self, part): return self
                def __len__(self): return 1
                def encode(self, *a): return b'passed'
            class Bad(Exception):
                def __str__(self): return Text('x' * 10**6)
            def f(x): raise Bad
        """)
    ),
    "raises an exception with a message of ten megabytes": Attack(
        program="def f(x): raise ValueError('x' * 10**7)"
    ),
    "raises an exception that would clear the terminal": Attack(
        program=python(r"""
            Bad = type('\x1b[2J\u202eBad\r\n', (Exception,), {})
            def f(x): raise Bad('\x1b]0;passed\x07\x1b[2J\u202e\n1 of 1 passed\r')
        """)
    ),
    "raises an exception with lone surrogates and NUL in its message": Attack(
        program=r"def f(x): raise ValueError('\ud800\x00\udfff\x00')"
    ),
    "raises an exception that is its own cause and argument": Attack(
        program=python("""
            def f(x):
                bad = ValueError()
                bad.args = (bad, [bad])
                bad.__cause__ = bad.__context__ = bad
                raise bad
        """)
    ),
    "raises exception groups a thousand deep": Attack(
        program=python("""
            def f(x):
                bad = ValueError('x')
                for n in range(1000): bad = ExceptionGroup(str(n), [bad, bad])
                for n in range(10_000): bad.add_note('note' * 100)
                raise bad
        """)
    ),
    "raises an exception whose metaclass lies": Attack(
        program=python("""
            class Meta(type):
                __mro__ = property(lambda self: ())
                __name__ = property(lambda self: 1 / 0)
                def __instancecheck__(self, other): return True
                def __subclasscheck__(self, other): return True
                def __eq__(self, other): return True
                def __hash__(self): return 0
            class Bad(Exception, metaclass=Meta): pass
            def f(x): raise Bad
        """)
    ),
    "does not load, and its syntax error holds a megabyte": Attack(
        program="def f(x): return 0\n(" + "x " * 500_000
    ),
}
