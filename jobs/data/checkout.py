"""Files of a git commit, or of a plain folder, each with the licence it is under.

A commit is read through git's plumbing: what lies in the work tree, and whether it was changed,
makes no difference. A file is under what it declares (`SPDX-License-Identifier`), else under the
licence file nearest above it; where neither says anything that is known, it is under none.
"""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from jobs.data.licences import is_licence_file, recognised
from jobs.declared import UserError

_REGULAR = (b"100644", b"100755")


class Files(Protocol):
    """Files of one pinned state of a folder, by their paths."""

    def paths(self) -> list[str]:
        """All of them, sorted."""
        ...

    def read(self, paths: Iterable[str], largest: int) -> Iterator[bytes | int]:
        """The bytes of each, in the order asked; for one over `largest` bytes, how many it has."""
        ...


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of a repository."""

    folder: Path
    revision: str

    def paths(self) -> list[str]:
        """Regular files; links, submodules and names with a line end are left out.

        Raises:
            UserError: no repository, no such commit, or no git.
        """
        listed = self._git("ls-tree", "-r", "-z", "--full-tree", self.revision)
        entries = (entry.split(b"\t", 1) for entry in listed.split(b"\0") if entry)
        return sorted(
            os.fsdecode(path)
            for about, path in entries
            if about.split()[0] in _REGULAR and not {*b"\r\n"} & {*path}
        )

    def read(self, paths: Iterable[str], largest: int) -> Iterator[bytes | int]:
        """One `git cat-file` for all of them, one file in memory at a time."""
        with self._started() as git:
            assert git.stdin and git.stdout
            for path in paths:
                git.stdin.write(f"{self.revision}:".encode() + os.fsencode(path) + b"\n")
                git.stdin.flush()
                head = git.stdout.readline().split()
                if len(head) != 3 or not head[2].isdigit():
                    raise UserError(f"{self.folder}: git cannot read {path} of {self.revision}")
                yield _bounded(git.stdout, int(head[2]), largest)
                git.stdout.read(1)

    def _command(self, *arguments: str) -> list[str]:
        # The folder is named by the user's own recipe, so that it may belong to somebody else.
        trusted = f"safe.directory={self.folder}"
        return ["git", "-c", trusted, "-C", str(self.folder), *arguments]

    def _git(self, *arguments: str) -> bytes:
        try:
            done = subprocess.run(
                self._command(*arguments), capture_output=True, env=_environment(), check=False
            )
        except FileNotFoundError:
            raise UserError("git is not installed; a checkout cannot be read without it") from None
        if done.returncode:
            said = " ".join(done.stderr.decode(errors="replace").split())
            raise UserError(
                f"{self.folder}: commit {self.revision} cannot be read ({said}); "
                f"`git -C {self.folder} fetch --all` may bring it"
            )
        return done.stdout

    @contextmanager
    def _started(self) -> Iterator[subprocess.Popen[bytes]]:
        git = subprocess.Popen(
            self._command("cat-file", "--batch"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
        try:
            yield git
        finally:
            git.kill()
            git.communicate()


@dataclass(frozen=True, slots=True)
class Tree:
    """A plain folder."""

    folder: Path

    def paths(self) -> list[str]:
        """Regular files; links and what is under `.git` are left out."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        names = (path.relative_to(self.folder) for path in found if not path.is_symlink())
        return sorted(name.as_posix() for name in names if ".git" not in name.parts)

    def read(self, paths: Iterable[str], largest: int) -> Iterator[bytes | int]:
        """One file in memory at a time."""
        for path in paths:
            place = self.folder / path
            size = place.stat().st_size
            yield size if size > largest else place.read_bytes()


def tree_digest(folder: Path) -> str:
    """Hex sha256 over the paths and contents of a folder: what pins a `tree`.

    Of `PATH NUL sha256 NEWLINE` for each file, sorted by path.
    """
    whole = hashlib.sha256()
    for path in Tree(folder).paths():
        with (folder / path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{path}\0{digest}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()


def licences(files: Files, paths: Iterable[str]) -> dict[str, str]:
    """Folder -> the licence its own licence files give, "" where they are not known.

    A folder with an unknown licence beside a known one is unknown: both may bind.
    """
    named = [path for path in paths if is_licence_file(PurePosixPath(path).name)]
    found: dict[str, set[str]] = {}
    for path, content in zip(named, files.read(named, 1 << 20), strict=True):
        folder = str(PurePosixPath(path).parent)
        told = recognised(content.decode(errors="replace")) if isinstance(content, bytes) else ""
        found.setdefault(folder, set()).add(told)
    return {
        folder: "" if "" in told else " AND ".join(sorted(told)) for folder, told in found.items()
    }


def above(path: str, folders: dict[str, str]) -> str:
    """The licence of the nearest folder above a file that has one, "" where none is known."""
    every = (str(folder) for folder in PurePosixPath(path).parents)
    return next((folders[folder] for folder in every if folder in folders), "")


def printable(path: str) -> str:
    """A path as text that can be written: bytes of it that are not UTF-8 as `\\xe9`."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")


def matching(paths: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Paths that one of the patterns matches; `**/` stands for any folders, or none."""
    rules = [re.compile(_rule(pattern)) for pattern in patterns]
    return [path for path in paths if any(rule.fullmatch(path) for rule in rules)]


def _rule(pattern: str) -> str:
    told = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return "".join(told.get(part, re.escape(part)) for part in parts)


def _bounded(stream: "Readable", size: int, largest: int) -> bytes | int:
    if size <= largest:
        return stream.read(size)
    left = size
    while left:
        left -= len(stream.read(min(left, 1 << 20)))
    return size


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes."""
        ...


def _environment() -> dict[str, str]:
    """Nothing of the caller's repository, and no download of objects that a clone left out."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
