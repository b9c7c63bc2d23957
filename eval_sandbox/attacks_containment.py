"""Programs that want to reach what is outside, or to leave something for the next one."""

from dataclasses import replace

from eval_sandbox.attacks_common import (
    CANARY,
    DIALOGUE,
    MARKER,
    NAME_ITSELF,
    QUICK,
    SHORT,
    Attack,
    python,
    reach,
)
from eval_sandbox.verdict import Outcome

_FAILED, _CRASHED, _TIMED_OUT = Outcome.FAILED, Outcome.CRASHED, Outcome.TIMED_OUT


def _reaches(lines: str) -> Attack:
    return Attack(program=reach(lines))


def _calls(*numbers_and_arguments: object) -> Attack:
    """An attack by one raw system call, which must return at least 0.

    Args:
        numbers_and_arguments: its number on x86-64 and on aarch64, then its arguments.
    """
    x86, arm, *arguments = numbers_and_arguments
    given = "".join(f", {argument}" for argument in arguments)
    return _reaches(f"""
        import ctypes, os
        number = {{'x86_64': {x86}, 'aarch64': {arm}}}[os.uname().machine]
        assert ctypes.CDLL(None).syscall(number{given}) >= 0
    """)


def _c(expression: str) -> Attack:
    """An attack by one function of the C library, which must return at least 0."""
    return _reaches(f"import ctypes\nassert ctypes.CDLL(None).{expression} >= 0")


HOST_ATTACKS = {
    "reaches the network": _reaches("""
        import socket
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 9))
    """),
    "makes a socket of any family": _reaches("""
        import socket
        made = []
        for family in range(2, 46):
            for kind in (1, 2, 3, 5):
                try: made.append(socket.socket(family, kind))
                except OSError: pass
        assert made
    """),
    "meets another candidate at a named socket": _reaches("""
        import socket
        socket.socket(socket.AF_UNIX).bind('\\\\0meet')
    """),
    "reads the users of the host": _reaches("open('/etc/passwd').read()"),
    "lists the home folders": _reaches(
        "import os\nassert os.listdir('/home') or os.listdir('/root')"
    ),
    "reads secrets from the environment": _reaches(
        "import os\nassert set(os.environ) - {'HOME', 'LANG', 'LC_CTYPE', 'PWD', 'PYTHONHASHSEED'}"
    ),
    "reads a file of the host": _reaches(f"assert open('{CANARY}').read()"),
    "writes on a file of the host": _reaches(f"open('{CANARY}', 'r+').write('changed')"),
    "removes a file of the host": _reaches(f"import os\nos.unlink('{CANARY}')"),
    "follows a symbolic link out of its folder": _reaches(
        "import os\nos.symlink('/etc', 'out')\nassert os.listdir('out/')"
    ),
    "looks at other processes": _reaches("import os\nassert os.listdir('/proc')"),
    "reads the environment of the process above it": _reaches("""
        import os
        assert open(f'/proc/{os.getppid() or 1}/environ', 'rb')
    """),
    "writes in the memory of the process above it": _reaches("""
        import os
        assert open(f'/proc/{os.getppid() or 1}/mem', 'r+b')
    """),
    "reads the kernel's settings": _reaches("import os\nassert os.listdir('/sys')"),
    "looks what else runs on the host": _reaches(
        "import os\nassert max(os.getpid(), os.getppid()) > 9 or os.listdir('/run')"
    ),
    "searches the disk for the benchmark": Attack(
        program=python("""
            import os
            def f(x):
                for folder, _, files in os.walk('/'):
                    if folder.endswith('-packages') and files: return x + 1
                    if any('.jsonl' in n or 'attacks' in n for n in files): return x + 1
                return 0
        """),
        limits=replace(QUICK, cpu_seconds=5.0, wall_seconds=30.0),
    ),
    "writes outside its own folder": _reaches("""
        import os
        written = 0
        for folder in ('/', '/dev', '/dev/shm', '/var/tmp', os.path.dirname(os.__file__)):
            try: open(folder + '/mine', 'w').close(); written = 1
            except OSError: pass
        assert written
    """),
    "changes the library for all who come after": _reaches("""
        import os
        library = os.__file__
        changed = 0
        for change in (
            lambda: open(library, 'r+'), lambda: os.chmod(library, 0o777),
            lambda: os.utime(library), lambda: os.rename(library, library + '.old'),
            lambda: os.makedirs(os.path.dirname(library) + '/__pycache__/new'),
            lambda: os.link(library, '/tmp/mine'), lambda: os.setxattr(library, 'user.x', b''),
        ):
            try: change(); changed = 1
            except OSError: pass
        assert changed
    """),
    "touches a device of the host": _reaches("import os\nos.utime('/dev/null')"),
    "opens a device of the host": _reaches("""
        import os
        found = []
        for name in ('tty', 'ptmx', 'mem', 'kmsg', 'fuse', 'kvm', 'console', 'net/tun', 'loop0'):
            try: found.append(os.open('/dev/' + name, os.O_RDWR))
            except OSError: pass
        assert found
    """),
    "makes a device": _reaches("import os\nos.mknod('disk', 0o060666, os.makedev(8, 0))"),
    "opens a terminal": _reaches("import os\nos.openpty()"),
    "types into a terminal": _reaches("""
        import fcntl, termios
        typed = 0
        for fd in range(5):
            try: fcntl.ioctl(fd, termios.TIOCSTI, b'x'); typed = 1
            except OSError: pass
        assert typed
    """),
}

PRIVILEGE_ATTACKS = {
    "starts a shell": _reaches(
        "import subprocess\nsubprocess.run(['/bin/sh', '-c', 'true'], check=True)"
    ),
    "starts another interpreter": _reaches("""
        import subprocess, sys
        subprocess.run([sys.executable, '-I', '-S', '-c', ''], check=True)
    """),
    "starts a program from a descriptor": _reaches("""
        import os, sys
        if (pid := os.fork()) == 0:
            os.execve(os.open(sys.executable, os.O_RDONLY), ['python', '-c', ''], {})
        assert os.waitpid(pid, 0)[1] == 0
    """),
    "starts a program from memory": _reaches("import os\nos.memfd_create('program')"),
    "becomes root": _reaches("import os\nos.setuid(0)"),
    "joins the groups of root": _reaches("import os\nos.setgroups([0])"),
    "makes a namespace where it is root": _c("unshare(0x10000000)"),
    "makes a child in a namespace where it is root": _reaches("""
        import ctypes, os
        number = {'x86_64': 56, 'aarch64': 220}[os.uname().machine]
        pid = ctypes.CDLL(None).syscall(number, 0x10000000 | 17, 0, 0, 0, 0)
        if pid == 0: os._exit(0)
        assert pid > 0
    """),
    "makes a mount namespace of its own": _c("unshare(0x00020000)"),
    "mounts a file system": _c("mount(b'none', b'/tmp', b'tmpfs', 0, None)"),
    "makes what it sees writable": _c("mount(None, b'/', None, 0x1020, None)"),
    "unmounts its folder": _c("umount2(b'/tmp', 2)"),
    "changes its root folder": _reaches("import os\nos.chroot('/tmp')"),
    "names the host": _reaches("import socket\nsocket.sethostname('mine')"),
    "sets the clock": _reaches("import time\ntime.clock_settime(time.CLOCK_REALTIME, time.time())"),
    "reads the log of the kernel": _reaches("""
        import ctypes
        room = ctypes.create_string_buffer(4096)
        assert ctypes.CDLL(None).klogctl(3, room, 4096) >= 0
    """),
    "traces itself": _c("ptrace(0, 0, None, None)"),
    "reads memory through the kernel": _reaches("""
        import ctypes, os
        room = ctypes.create_string_buffer(8)
        place = (ctypes.c_void_p * 2)(ctypes.addressof(room), 8)
        libc = ctypes.CDLL(None)
        assert libc.process_vm_readv(os.getpid(), place, 1, place, 1, 0) == 8
    """),
    "holds a process by a descriptor": _reaches("import os\nos.pidfd_open(os.getpid())"),
    "loads a program into the kernel": _calls(
        321, 280, 0, "bytes([2,0,0,0,4,0,0,0,4,0,0,0,1]) + bytes(99)", 72
    ),
    "counts events of the machine": _calls(
        298, 241, "bytes([1,0,0,0,112]) + bytes(150)", 0, -1, -1, 0
    ),
    "handles page faults itself": _calls(323, 282, 1),
    "queues system calls past the filter": _calls(425, 425, 1, "ctypes.create_string_buffer(120)"),
    "keeps a secret in the kernel's key ring": _calls(
        248, 217, "b'user'", "b'left'", "b'secret'", 6, -3
    ),
    "calls by the other numbers of the processor": Attack(
        program=reach("""
            import ctypes
            assert ctypes.CDLL(None).syscall(0x40000000 | 39) > 0
        """),
        outcomes=(_FAILED, _CRASHED),
    ),
    "shares memory by System V": _c("shmget(0x1eaf, 4096, 0o1600)"),
    "shares a queue by System V": _c("msgget(0x1eaf, 0o1600)"),
    "shares a semaphore by System V": _c("semget(0x1eaf, 1, 0o1600)"),
    "shares a queue by POSIX": _c("mq_open(b'/left', 0o102, 0o600, None)"),
    "locks a shared file": _reaches(
        "import fcntl, os\nfcntl.flock(open(os.__file__), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    ),
    "locks a part of a shared file": _reaches(
        "import fcntl, os\nfcntl.lockf(open(os.__file__), fcntl.LOCK_SH | fcntl.LOCK_NB)"
    ),
    "locks a device of the host": _reaches(
        "import fcntl\nfcntl.flock(open('/dev/null'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    ),
    "takes a lease on a shared file": _reaches(
        "import fcntl, os\nfcntl.fcntl(open(os.__file__), fcntl.F_SETLEASE, fcntl.F_RDLCK)"
    ),
    "watches what others read": _reaches("""
        import ctypes, os
        libc = ctypes.CDLL(None)
        assert libc.inotify_add_watch(libc.inotify_init(), os.__file__.encode(), 0x20) > 0
    """),
    "limits the process above it to death": Attack(
        program=python("""
            import os, resource, time
            for pid in {1, os.getppid()} - {os.getpid()}:
                try: resource.prlimit(pid, resource.RLIMIT_CPU, (0, 0))
                except OSError: pass
            time.sleep(0.1)
            def f(x): return 0
        """),
        outcomes=(_FAILED, _CRASHED),
    ),
}

SURVIVAL_ATTACKS = {
    "leaves a daemon behind": Attack(
        program=python(f"""
            import ctypes, os, time
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    {NAME_ITSELF}
                    time.sleep(60)
                os._exit(0)
            def f(x): return 0
        """)
    ),
    "leaves another program behind": Attack(
        program=python(f"""
            import os, sys
            if os.fork() == 0:
                os.setsid()
                sleep = 'import time; time.sleep(60)'
                os.execv(sys.executable, [sys.executable, '-c', sleep, '{MARKER}'])
            def f(x): return 0
        """)
    ),
    "leaves a daemon behind that ignores signals and holds every pipe": Attack(
        program=python(f"""
            import ctypes, os, signal, time
            if os.fork() == 0:
                {NAME_ITSELF}
                for number in signal.valid_signals():
                    try: signal.signal(number, signal.SIG_IGN)
                    except OSError: pass
                time.sleep(60)
            os._exit(0)
        """)
    ),
    "leaves many processes that make new ones": Attack(
        program=python(f"""
            import ctypes, os, time
            for _ in range(5):
                if os.fork() == 0:
                    {NAME_ITSELF}
                    for _ in range(50):
                        try:
                            if os.fork(): os._exit(0)
                        except OSError: pass
                        time.sleep(0.01)
                    time.sleep(60)
            def f(x): return 0
        """)
    ),
    "leaves a stopped process behind": Attack(
        program=python(f"""
            import ctypes, os, signal
            if os.fork() == 0:
                {NAME_ITSELF}
                os.kill(os.getpid(), signal.SIGSTOP)
            os.waitpid(-1, os.WUNTRACED)
            def f(x): return 0
        """)
    ),
    "leaves a thread that never ends": Attack(
        program=python(f"""
            import ctypes, threading, time
            def sleep():
                {NAME_ITSELF}
                time.sleep(60)
            threading.Thread(target=sleep).start()
            def f(x): return 0
        """)
    ),
    "leaves a process behind when its time is up": Attack(
        program=python(f"""
            import ctypes, os, time
            if os.fork() == 0: {NAME_ITSELF}
            time.sleep(60)
        """),
        outcomes=(_TIMED_OUT,),
        limits=SHORT,
    ),
    "leaves a process behind after a dialogue": Attack(
        program=python(f"""
            import ctypes, os, time
            if os.fork() == 0:
                {NAME_ITSELF}
                time.sleep(60)
        """),
        tests=DIALOGUE,
    ),
    "kills its parent and everything else": Attack(
        program=python("""
            import os, signal
            for pid in (1, os.getppid(), 0, -1):
                for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
                    try: os.kill(pid, number)
                    except OSError: pass
            def f(x): return 0
        """),
        outcomes=(_FAILED, _CRASHED),
    ),
    "sends every signal to its group and session": Attack(
        program=python("""
            import os, signal
            stops = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
            for number in signal.valid_signals() - stops:
                for pid in {os.getpgid(0), os.getsid(0), os.getppid(), 0}:
                    try: os.killpg(pid, number)
                    except OSError: pass
            def f(x): return 0
        """),
        outcomes=(_FAILED, _CRASHED),
    ),
    "interrupts whoever is in its group": Attack(
        program=python("""
            import os, signal
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            for _ in range(100): os.killpg(0, signal.SIGINT)
            def f(x): return 0
        """)
    ),
    "stops everything but itself": Attack(
        program=python("""
            import os, signal
            for pid in (1, os.getppid(), -1):
                try: os.kill(pid, signal.SIGSTOP)
                except OSError: pass
            def f(x): return 0
        """),
        outcomes=(_FAILED, _TIMED_OUT),
        limits=SHORT,
    ),
}

CONTAINMENT_ATTACKS = {**HOST_ATTACKS, **PRIVILEGE_ATTACKS, **SURVIVAL_ATTACKS}
