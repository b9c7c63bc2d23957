"""Programs that look for what another candidate left just before them."""

from dataclasses import replace

from eval_sandbox.attacks_common import DIALOGUE, SHORT, Attack, python
from eval_sandbox.verdict import Outcome


def _left(before: str, found: str) -> Attack:
    """An attack that is right where the expression `found` is true."""
    return Attack(
        before=f"{python(before)}\ndef f(x): return 0",
        program=python(f"""
            import builtins, ctypes, fcntl, os, random, resource, signal, sys, time
            def f(x): return x + 1 if {found} else 0
        """),
    )


_PLACES = "('/', '/tmp', '/dev', '/dev/shm', '/var/tmp', '/run', '.')"
_ANY_FILE = "os.listdir('/tmp')"

FILE_ATTACKS = {
    "finds the files of another": _left(
        f"""
        for folder in {_PLACES}:
            try: open(folder + '/left', 'w').close()
            except OSError: pass
        """,
        f"any(os.path.exists(folder + '/left') for folder in {_PLACES})",
    ),
    "finds the folders of another that nobody may enter": _left(
        "import os\nos.makedirs('/tmp/a/b/c')\nopen('/tmp/a/b/c/left', 'w')\n"
        "os.chmod('/tmp/a/b', 0)\nos.chmod('/tmp/a', 0)",
        _ANY_FILE,
    ),
    "finds folders of another deeper than any path": _left(
        """
        import os
        os.chdir('/tmp')
        for _ in range(900): os.mkdir('left' * 9); os.chdir('left' * 9)
        """,
        _ANY_FILE,
    ),
    "finds the links, pipes and sparse files of another": _left(
        """
        import os
        os.chdir('/tmp')
        os.symlink('.', 'loop')
        os.symlink('/', 'root')
        os.mkfifo('pipe')
        os.truncate(os.open('sparse', 0o102), 10**7)
        for n in range(100): os.link('sparse', f'link{n}')
        """,
        _ANY_FILE,
    ),
    "finds files of another with names that nobody expects": _left(
        r"""
        import os
        for name in (b'\xff\xfe', b'\n', b'-rf', b' ', b'*', b'\x1b[2J', b'x' * 255):
            os.close(os.open(b'/tmp/' + name, os.O_CREAT))
        """,
        _ANY_FILE,
    ),
    "finds room taken by a file that another removed": _left(
        """
        import os
        kept = open('/tmp/gone', 'wb')
        os.unlink('/tmp/gone')
        kept.write(bytes(12 << 20)); kept.flush()
        if os.fork() == 0: __import__('time').sleep(60)
        """,
        "os.statvfs('/tmp').f_bfree < 8 << 20 >> 12",
    ),
    "finds no room because another filled it": _left(
        "open('/tmp/big', 'wb').write(bytes(12 << 20))",
        "os.statvfs('/tmp').f_bfree < 8 << 20 >> 12",
    ),
    "finds no inodes because another took them": _left(
        "for n in range(2000): open(f'/tmp/{n}', 'w').close()",
        "os.statvfs('/tmp').f_files - os.statvfs('/tmp').f_ffree > 1000",
    ),
    "sees the mode that another gave the folder": _left(
        "import os\nos.chmod('/tmp', 0o712)", "os.stat('/tmp').st_mode & 0o777 == 0o712"
    ),
    "cannot enter the folder that another closed": _left(
        "import os\nos.chmod('/tmp', 0)", "not os.access('/tmp', os.W_OK | os.X_OK)"
    ),
    "reads a message in the times of the folder": _left(
        "import os\nos.utime('/tmp', (7, 8))", "os.stat('/tmp').st_mtime == 8"
    ),
    "sees by the times of the folder that another wrote in it": _left(
        "import os, time\ntime.sleep(0.02)\nopen('/tmp/x', 'w').close(); os.unlink('/tmp/x')",
        "os.stat('/tmp').st_mtime_ns - os.stat('/tmp').st_atime_ns > 10**7",
    ),
    "sees by the times of the folder that another listed it": _left(
        "import os, time\ntime.sleep(0.02)\nos.listdir('/tmp')",
        "os.stat('/tmp').st_atime_ns - os.stat('/tmp').st_mtime_ns > 10**7",
    ),
    "reads a message in the attributes of the folder": _left(
        """
        import os, struct
        entries = [part for tag in (1, 4, 32) for part in (tag, 7, 2**32 - 1)]
        everybody = struct.pack('<IHHIHHIHHI', 2, *entries)
        for name, value in (('user.left', b'1'), ('system.posix_acl_default', everybody)):
            try: os.setxattr('/tmp', name, value)
            except OSError: pass
        """,
        "os.listxattr('/tmp')",
    ),
    "sees by the times of the library what another read": _left(
        "import os\nopen(os.path.dirname(os.__file__) + '/this.py').read()",
        "abs(time.time() - os.stat(os.path.dirname(os.__file__) + '/this.py').st_atime) < 3",
    ),
    "sees the times that another gave a device": _left(
        "import os\ntry: os.utime('/dev/zero')\nexcept OSError: pass",
        "abs(time.time() - os.stat('/dev/zero').st_mtime) < 3",
    ),
}

STATE_ATTACKS = {
    "finds the folder that another changed to": _left(
        "import os\nos.chdir('/')", "os.getcwd() == '/'"
    ),
    "finds the umask of another": _left("import os\nos.umask(0o123)", "os.umask(0) == 0o123"),
    "finds a signal that another ignored": _left(
        "import signal\nsignal.signal(signal.SIGUSR2, signal.SIG_IGN)",
        "signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN",
    ),
    "finds a signal that another blocked or left pending": _left(
        """
        import os, signal
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        os.kill(os.getpid(), signal.SIGUSR1)
        """,
        "signal.pthread_sigmask(signal.SIG_BLOCK, []) or signal.sigpending()",
    ),
    "finds a timer of another": _left(
        "import signal\nsignal.setitimer(signal.ITIMER_REAL, 60)",
        "any(signal.getitimer(signal.ITIMER_REAL))",
    ),
    "finds the priority that another gave its group": _left(
        """
        import os
        for which in (os.PRIO_PROCESS, os.PRIO_PGRP, os.PRIO_USER):
            try: os.setpriority(which, 0, 17)
            except OSError: pass
        """,
        "os.getpriority(os.PRIO_PROCESS, 0) == 17",
    ),
    "finds the limits of another": _left(
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (17, 17))",
        "resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 17",
    ),
    "finds the name of another": _left(
        "import ctypes\nctypes.CDLL(None).prctl(15, b'left', 0, 0, 0)",
        "(lambda name: ctypes.CDLL(None).prctl(16, name, 0, 0, 0) == 0 and name.value == b'left')"
        "(ctypes.create_string_buffer(16))",
    ),
    "finds an interpreter that another changed": _left(
        """
        import builtins, os, random, sys
        builtins.left = sys.left = os.left = True
        os.environ['left'] = 'x'
        sys.modules['left'] = sys
        sys.path.append('/left')
        builtins.max = lambda *a: 99
        sys.setrecursionlimit(999)
        """,
        "any(hasattr(one, 'left') for one in (builtins, sys, os)) or 'left' in os.environ"
        " or max(1, 2) > 2 or '/left' in sys.path or sys.getrecursionlimit() == 999",
    ),
    "finds the program of another in memory": Attack(
        before="kept = ''.join(map(chr, [76, 69, 70, 84, 45])) * 1000\ndef f(x): return 0",
        program=python("""
            import ctypes, gc, os
            write = ctypes.CDLL(None).write
            write.argtypes = ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t
            def f(x):
                out, into = os.pipe()
                needle = bytes([76, 69, 70, 84, 45]) * 9
                for region in {id(one) >> 20 for one in gc.get_objects()}:
                    for page in range(region << 20, (region + 1) << 20, 4096):
                        if write(into, page, 4096) > 0 and os.read(out, 4096).count(needle) > 9:
                            return x + 1
        """),
    ),
    "finds descriptors that another changed": _left(
        """
        import fcntl, os
        for fd in range(5):
            for flag in (os.O_NONBLOCK, os.O_APPEND, os.O_ASYNC):
                try: fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | flag)
                except OSError: pass
        """,
        "any(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK for fd in range(5))",
    ),
    "finds pipes that another made small": _left(
        "import fcntl\nfor fd in (3, 4): fcntl.fcntl(fd, 1031, 4096)",
        "fcntl.fcntl(3, 1032) == 4096 or fcntl.fcntl(4, 1032) == 4096",
    ),
    "finds descriptors that another opened": _left(
        "import os\nkept = [os.open('/dev/null', 0) for _ in range(9)]",
        "any(map(os.path.exists, map('/dev/fd/{}'.format, range(5, 64)))) or os.dup(0) != 5",
    ),
    "finds itself among the processes of another": _left(
        "import os, time\nfor _ in range(5):\n    if os.fork() == 0: time.sleep(60)",
        "os.getpid() > 9 or any(os.path.exists(f'/proc/{pid}') for pid in range(2, 99))",
    ),
}

TALK_ATTACKS = {
    "reads the input that another left": Attack(
        before="pass",
        program="input(); print(int(input()) + 1)",
        tests=DIALOGUE,
    ),
    "hopes for the output of another": Attack(
        before="print(2)\nprint(2, flush=True)\nraise SystemExit(1)",
        program="import os, sys\nsys.stdout = open(os.devnull, 'w')",
        tests=DIALOGUE,
    ),
    "has a process of another print its answer": Attack(
        before=python("""
            import os, time
            if os.fork() == 0:
                time.sleep(0.2)
                print(2, flush=True)
            os._exit(1)
        """),
        program="import time; time.sleep(0.5)",
        tests=DIALOGUE,
    ),
    "has the surplus answers of another": Attack(
        before=python("""
            import os, struct
            reply = b't' + struct.pack('<I', 3) + b's' + struct.pack('<I', 5) + b'value'
            for x in (0, *[1, 41] * 50):
                answer = reply + b'i' + struct.pack('<q', x + 1) + b'N'
                os.write(3, struct.pack('<I', len(answer)) + answer)
            os._exit(1)
        """),
        program="import os\nos._exit(0)",
    ),
    "answers with what another never read": Attack(
        before="import os\nos._exit(1)",
        program="def f(x): return x",
        outcomes=(Outcome.FAILED,),
    ),
    "comes after one that was stopped in the middle": replace(
        _left("import time\ntime.sleep(60)", "False"), limits=SHORT
    ),
}

LEFTOVER_ATTACKS = {**FILE_ATTACKS, **STATE_ATTACKS, **TALK_ATTACKS}
