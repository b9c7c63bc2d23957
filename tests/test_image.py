"""The container image: its one script, run in a bare Debian, and what comes out of it."""

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
IMAGE = ROOT / "cluster" / "image"
SUITE = "bookworm"
PROGRAM = "/codeladder"


def test_the_dockerfile_does_nothing_that_the_script_does_not():
    steps = re.findall(r"^(RUN .*)$", (IMAGE / "Dockerfile").read_text(), re.MULTILINE)

    mounted = "--mount=type=bind,target=/source"  # a COPY would stay in a layer of its own
    assert steps == [f"RUN {mounted} /source/cluster/image/install.sh /source {PROGRAM}"]


def test_the_image_is_made_of_what_git_knows_and_of_nothing_beside_it():
    lines = (IMAGE / "Dockerfile.dockerignore").read_text().splitlines()[1:]
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, check=True)
    known = {name.partition("/")[0] for name in listed.stdout.decode().splitlines()}

    assert lines[0] == "*"
    sent = {line[1:].partition("/")[0] for line in lines if line.startswith("!")}
    assert sent == known - {".ci", ".gitattributes", ".gitignore", "tests"}


def test_the_image_runs_as_a_user_that_is_not_root():
    lines = (IMAGE / "Dockerfile").read_text().splitlines()

    assert "USER codeladder" in lines
    assert lines.index("USER codeladder") < next(
        number for number, line in enumerate(lines) if line.startswith("CMD")
    )


class Debian:
    """A root of its own, entered by chroot with /proc and the host's way to the network."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, *words, user="root", **environment):
        inside = f"mount -t proc proc {self.folder}/proc && exec chroot --userspec={user} "
        inside += f'{self.folder} /usr/bin/env -i "$@"'
        given = {"PATH": "/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin:/sbin:/bin"}
        pairs = [f"{name}={value}" for name, value in (given | environment).items()]
        enter = ["unshare", "--mount", "--pid", "--fork", "sh", "-ec", inside, "sh"]
        return subprocess.run([*enter, *pairs, *words], capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def debian(tmp_path_factory):
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip("needs root and debootstrap")
    folder = tmp_path_factory.mktemp("debian")
    made = ["debootstrap", "--variant=minbase", SUITE, str(folder)]
    subprocess.run(made, check=True, capture_output=True, timeout=900)
    folder.chmod(0o755)  # it is / there
    for file in ("resolv.conf", "hosts"):
        shutil.copy(f"/etc/{file}", folder / "etc" / file)
    source = folder / "source"
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others"]
    names = subprocess.run([*listed, "--exclude-standard"], capture_output=True, check=True)
    packed = [
        "tar",
        "-C",
        str(ROOT),
        "--null",
        "--files-from=-",
        "--ignore-failed-read",
        "-cf",
        "-",
    ]
    archive = subprocess.run(packed, input=names.stdout, capture_output=True, check=True)
    source.mkdir()
    subprocess.run(["tar", "-C", str(source), "-xf", "-"], input=archive.stdout, check=True)
    yield Debian(folder)


@pytest.mark.slow
def test_the_script_makes_a_bare_debian_into_the_image(debian):
    done = debian.run(
        "/source/cluster/image/install.sh", "/source", PROGRAM, PACKAGES="none", HOME="/root"
    )

    assert done.returncode == 0, done.stdout + done.stderr
    mine = debian.folder / PROGRAM[1:]
    assert not (mine / "tests").exists()
    assert not (mine / ".git").exists()
    assert {(mine / name).stat().st_uid for name in ("experiments", "runs")} == {1000}
    # The packages of the lock are those of this machine, at the same versions of the same Python.
    packages = debian.folder / "packages"
    packages.mkdir()
    host = sysconfig.get_path("purelib")
    subprocess.run(["mount", "--bind", host, str(packages)], check=True)
    try:
        as_user = {"user": "1000:1000", "PYTHONPATH": f"{PROGRAM}:/packages", "HOME": "/tmp"}
        run = "cd /codeladder && exec .venv/bin/python -m "
        for words, told in {
            "cluster --help": "bring a cluster up",
            "cluster up cluster/laptop.yaml --dry-run": "cluster node --head",
            "jobs plan experiments/smoke.yaml": "2 runs",
            "jobs results --help": "scores",
        }.items():
            shown = debian.run("sh", "-c", run + words, **as_user)
            assert shown.returncode == 0, words + shown.stdout + shown.stderr
            assert told in shown.stdout, words + shown.stdout
    finally:
        subprocess.run(["umount", str(packages)], check=True)
