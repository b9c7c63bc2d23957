"""What a candidate cannot do, tried for real; and what a host that cannot isolate is told."""

import concurrent.futures
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from eval_sandbox.attacks import CALLS
from eval_sandbox.contract import Judging, Limits
from eval_sandbox.host import SandboxUnavailable, cure, ended, explain, interpreter
from eval_sandbox.judge import judge
from eval_sandbox.problem import Call, Completion, Problem, Script
from eval_sandbox.sandbox import check_host
from eval_sandbox.verdict import Outcome

ROOT = Path(__file__).parent.parent
PROBLEM = Problem(task_id="p", instruction="", prompt="", entry_point="f", tests=CALLS)


def uids_of_process_named(name):
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                status = (process / "status").read_text()
            except OSError:
                continue
            if f"Name:\t{name}\n" in status:
                return next(line for line in status.splitlines() if line.startswith("Uid:"))
    return None


def test_candidates_never_run_with_the_real_uid_of_root():
    name = f"uid-{os.getpid()}"
    program = f"import ctypes, time\nctypes.CDLL(None).prctl(15, b'{name}')\ntime.sleep(9)"
    judging = Judging(limits=Limits(wall_seconds=2.0))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        verdict = pool.submit(judge, PROBLEM, Completion(task_id="p", text=program), judging)
        found = None
        while found is None and not verdict.done():
            found = uids_of_process_named(name)
            time.sleep(0.01)

    assert found is not None
    assert "0" not in found.split()[1:]


OPEN = """import os
open_ones = []
for number in range(4096):
    try: os.fstat(number)
    except OSError: continue
    open_ones.append(number)
"""


@pytest.fixture
def many_open():
    """As in a process of Ray's, hundreds of descriptors are open when a sandbox starts."""
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(200)]
    yield
    for descriptor in opened:
        os.close(descriptor)


@pytest.mark.parametrize(
    "program, test, trusted",
    {
        "a candidate": (
            f"{OPEN}def f(): return open_ones",
            Call(args=(), kwargs={}, expected=[0, 1, 2, 3, 4]),
            True,
        ),
        "a user's own tests": (
            "def f(): return 1",
            Script(source=f"{OPEN}assert f() and open_ones == [0, 1, 2, 3, 4, 5], open_ones"),
            False,
        ),
    }.values(),
    ids=["a candidate", "a user's own tests"],
)
def test_no_link_of_ours_is_open_in(program, test, trusted, many_open):
    asked = replace(PROBLEM, tests=(test,), trusted=trusted)

    verdict = judge(asked, Completion(task_id="p", text=program, whole=True), Judging())

    assert verdict.outcome is Outcome.PASSED, verdict


def test_installed_packages_are_no_part_of_what_candidates_see():
    view = interpreter()
    packages = [path for folder in view.folders for path in folder.glob("**/*-packages")]

    assert set(packages) <= set(view.hidden) | {p for h in view.hidden for p in h.glob("**/*")}


def test_a_host_without_bwrap_is_told_what_to_type(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "eval_sandbox", "self-check"],
        env={"PATH": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "apt-get install bubblewrap" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "complaint, advice",
    {
        "refused": ("bwrap: No permissions to create new namespace", "cannot isolate"),
        "unreadable": (
            "bwrap: Can't find source path /home/x: Permission denied",
            "/usr/bin/python3",
        ),
        "old": ("bwrap: Unknown option --size", "0.8"),
        "silent": ("", "said nothing"),
    }.values(),
    ids=["refused", "unreadable", "old", "silent"],
)
def test_a_complaint_of_bwrap_becomes_advice(complaint, advice):
    assert advice in explain(complaint)


HOSTS = {
    "Ubuntu": ("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", {}, "userns=0"),
    "Debian": ("proc/sys/kernel/unprivileged_userns_clone", "0", {}, "userns_clone=1"),
    "none allowed": ("proc/sys/user/max_user_namespaces", "0", {}, "max_user_namespaces=15000"),
    "Docker": (".dockerenv", "", {}, "--security-opt seccomp=unconfined"),
    "Kubernetes": (".dockerenv", "", {"KUBERNETES_SERVICE_HOST": "x"}, "procMount: Unmasked"),
}


@pytest.mark.parametrize("file, content, environment, advice", HOSTS.values(), ids=HOSTS)
def test_the_cure_is_the_one_for_this_host(tmp_path, file, content, environment, advice):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(content)

    assert advice in cure(tmp_path, environment)


def test_this_host_can_isolate():
    check_host()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="no interpreter for all users")
@pytest.mark.parametrize("uid", ["0", "1234"])
def test_the_judge_also_works_with_the_interpreter_of_the_system_as_uid(uid, tmp_path):
    code = (
        "from eval_sandbox.sandbox import check_host\n"
        "from eval_sandbox.judge import Worker\n"
        "from eval_sandbox.self_check import HONEST, attempt\n"
        "check_host()\n"
        "with Worker() as worker:\n"
        "    print(attempt('honest', HONEST, worker).verdict.outcome)\n"
    )
    version = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys; print(sys.version_info >= (3, 11))"],
        capture_output=True,
        text=True,
        check=True,
    )
    if version.stdout.strip() != "True":
        pytest.skip("the interpreter of the system is older than 3.11")
    become = ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--"]
    readable = subprocess.run([*become, "test", "-r", str(ROOT / "eval_sandbox")], check=False)
    if readable.returncode != 0:
        pytest.skip(f"uid {uid} cannot read {ROOT}")

    done = subprocess.run(
        [*become, "/usr/bin/python3", "-B", "-c", code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.strip() == "passed", done.stderr


def test_a_program_of_ours_that_is_killed_says_nothing_of_the_host_and_is_started_again(tmp_path):
    once = f"test -e {tmp_path}/begun || {{ touch {tmp_path}/begun; kill -9 $$; }}; echo works"
    assert ended(["sh", "-c", once], os.environ).stdout == b"works\n"
    assert ended(["sh", "-c", "kill -9 $$"], os.environ).returncode == -9
    assert ended(["sh", "-c", "exit 3"], os.environ).returncode == 3


def test_the_exception_for_a_host_reads_as_one_sentence():
    assert "\n" not in str(SandboxUnavailable(explain("bwrap: a\nbwrap: b")))


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="no interpreter for all users")
def test_without_isolation_programs_run_under_limits_and_never_as_root():
    code = r"""
import sys
from eval_sandbox.contract import Judging, Limits
from eval_sandbox.judge import Worker
from eval_sandbox.problem import Call, Completion, Problem
problem = Problem(task_id="p", instruction="", prompt="", entry_point="f", tests=(
    Call(args=(), kwargs={}, expected=1),))
programs = (
    "def f(): return 1",
    "import os\ndef f(): return os.getuid() != 0 and 1",
    "open('left', 'w').close()\ndef f(): return 1",
    "import os\ndef f(): return 1 + os.path.exists('left')",
    "import os\nos.makedirs('a/b')\nos.chmod('a', 0)\ndef f(): return 1",
    "import os\ndef f(): return 1 + len(os.listdir())",
    "def f():\n    while True: pass",
    "import socket\ndef f(): return socket.socket() and 1",
)
with Worker("none") as worker:
    for program in programs:
        completion = Completion(task_id="p", text=program, whole=True)
        limits = Limits(cpu_seconds=0.5, wall_seconds=5.0)
        print(worker.judge(problem, completion, Judging(isolation="none", limits=limits)).outcome)
"""
    done = subprocess.run(
        ["/usr/bin/python3", "-B", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if "SandboxUnavailable" in done.stderr or "No module" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])

    assert done.stdout.split() == ["passed"] * 6 + ["timed_out", "failed"], done.stderr
