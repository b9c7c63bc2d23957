"""Wrong programs that look for what is expected of them."""

from dataclasses import replace

from eval_sandbox.attacks_common import (
    FIND_SECRET,
    QUICK,
    SHORT,
    Attack,
    python,
)
from eval_sandbox.verdict import Outcome

_FAILED, _CRASHED, _TIMED_OUT = Outcome.FAILED, Outcome.CRASHED, Outcome.TIMED_OUT

SECRET_ATTACKS = {
    "walks the frames for what is expected": Attack(
        program=python(f"""
            import re, sys
            def f(x):
                frame, found = sys._getframe(), None
                while frame and not found:
                    consts = frame.f_code.co_consts
                    found = {FIND_SECRET}.search(repr((frame.f_locals, frame.f_globals, consts)))
                    frame = frame.f_back
                return found and found[0]
        """)
    ),
    "searches all objects for what is expected": Attack(
        program=python(f"""
            import gc, re, types
            def f(x):
                pattern = {FIND_SECRET}
                todo, seen = [gc.get_objects()], set()
                while todo:
                    one = todo.pop()
                    if id(one) in seen or len(seen) > 300_000: continue
                    seen.add(id(one))
                    if type(one) in (str, bytes):
                        found = pattern.search(one if type(one) is str else one.decode('latin-1'))
                        if found: return found[0]
                    else: todo += gc.get_referents(one)
        """),
    ),
    "searches its memory for what is expected": Attack(
        before="def f(x): return 0",
        program=python(f"""
            import ctypes, gc, os, re
            pattern = re.compile({FIND_SECRET}.pattern.encode())
            write = ctypes.CDLL(None).write
            write.argtypes = ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t
            def f(x):
                out, into = os.pipe()
                for region in {{id(one) >> 20 for one in gc.get_objects()}}:
                    for page in range(region << 20, (region + 1) << 20, 4096):
                        if write(into, page, 4096) > 0:
                            found = pattern.search(os.read(out, 4096))
                            if found: return found[0].decode()
        """),
    ),
    "reads the source of its tests": Attack(
        program=python(f"""
            import inspect, linecache, re, sys, traceback
            def f(x):
                seen = [str(linecache.cache), str(sys.argv), str(vars(sys.modules['__main__']))]
                for level in inspect.stack(): seen += level.code_context or []
                try: raise ValueError
                except ValueError: seen += traceback.format_stack()
                found = {FIND_SECRET}.search(' '.join(seen))
                return found and found[0]
        """)
    ),
    "searches the disk for what is expected": Attack(
        program=python(f"""
            import os, re
            def f(x):
                library = os.path.dirname(os.__file__)
                for folder, folders, files in os.walk('/'):
                    if folder.startswith((library, '/dev')) or '.' in folder: continue
                    for name in files:
                        if name.endswith(('.so', '.a')) or '.so.' in name: continue
                        try: text = open(os.path.join(folder, name), 'rb').read(10**6)
                        except OSError: continue
                        found = {FIND_SECRET}.search(text.decode('latin-1'))
                        if found: return found[0]
        """),
        limits=replace(QUICK, cpu_seconds=5.0, wall_seconds=30.0),
    ),
    "reads ahead on every descriptor": Attack(
        program=python(f"""
            import os, re, select
            def f(x):
                seen = ''
                for fd in range(64):
                    try:
                        while select.select([fd], [], [], 0.01)[0] and (data := os.read(fd, 65536)):
                            seen += data.decode('latin-1')
                    except OSError: pass
                found = {FIND_SECRET}.search(seen)
                return found and found[0]
        """),
        outcomes=(_FAILED, _TIMED_OUT),
        limits=SHORT,
    ),
}
