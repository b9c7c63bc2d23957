"""Folders and files under a URL, each whole or not there, each file known by its sha256.

What is put under a name lies in `NAME/CONTENT/`, where CONTENT is a digest over its files, and
`NAME/manifest.json` says which. The manifest is written last: an upload that was interrupted is not
there. Who replaces a name leaves the files that a reader is at until the new manifest is there.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from jobs.declared import UserError, nearest
from jobs.run_logs import without_secrets
from jobs.storage.drafts import draft_of

VARIABLE = "CODELADDER_STORE"
MANIFEST = "manifest.json"
VERSION = 1
PAUSES = (1.0, 5.0, 20.0)
"""Seconds before each new try of what a store refused; its own client tries before that."""
PROBE = "probe"
EXTRAS = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "az": "adlfs",
}
"""Packages that speak to a store, by the scheme of its URL."""

Found = TypeVar("Found")


class StoreError(Exception):
    """The store could not be used; the message names it, and no secret."""


class DamagedError(StoreError):
    """What the store returns is not what was put there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What was put under a name."""

    title: str
    """Name of the folder or file where it was put from."""
    folder: bool
    """Whether it is a folder; a file is the one file of `files`."""
    files: dict[str, dict[str, Any]]
    """`bytes` and `sha256` of each, by its path within the folder."""
    version: int = VERSION

    @property
    def content(self) -> str:
        """16 hex digits over all files."""
        said = json.dumps(self.files, sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Store:
    """What lies below one URL. Picklable; credentials come from the environment of each process."""

    url: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Store | None":
        """The store that `CODELADDER_STORE` names; None where it names none.

        Raises:
            UserError: no such kind of store, or a password in its URL.
        """
        given = (os.environ if environment is None else environment).get(VARIABLE, "")
        if not given:
            return None
        _require_known(given)
        return cls(given if "://" in given else Path(given).absolute().as_uri())

    def put(self, name: str, path: Path, require: Callable[[], None] = lambda: None) -> Manifest:
        """Put a folder or file under a name, in the place of what is there.

        Args:
            name: to put it under.
            path: of the folder or file.
            require: called when all is there but what makes it count; what it raises leaves the
                name as it was.

        Raises:
            StoreError: it could not be written.
        """
        manifest = described(path)
        before = self.manifest(name)
        with self._speaking() as (files, root):
            where = f"{root}/{name}/{manifest.content}"
            for relative in manifest.files:
                target = f"{where}/{relative}"
                _make_way(files, target)
                source = path / relative if manifest.folder else path
                _again(partial(files.put_file, str(source), target))
        require()
        with self._speaking() as (files, root):
            said = json.dumps(asdict(manifest), indent=1).encode()
            _again(partial(files.pipe_file, f"{root}/{name}/{MANIFEST}", said))
            if before is not None and before.content != manifest.content:
                with suppress(FileNotFoundError):
                    files.rm(f"{root}/{name}/{before.content}", recursive=True)
        return manifest

    def put_changed(self, name: str, path: Path) -> None:
        """Put a folder or file unless it lies there as it is now."""
        there = self.manifest(name)
        if there is None or there.content != described(path).content:
            self.put(name, path)

    def note(self, name: str, text: str) -> None:
        """Write a line under a name that nothing is put under, in the place of what is there.

        Raises:
            StoreError: it could not be written.
        """
        with self._speaking() as (files, root):
            _make_way(files, f"{root}/{name}")
            _again(partial(files.pipe_file, f"{root}/{name}", text.encode()))

    def noted(self, name: str) -> str:
        """The line under a name; empty: none.

        Raises:
            StoreError: the store does not answer.
        """
        with self._speaking() as (files, root):
            try:
                return bytes(_again(partial(files.cat_file, f"{root}/{name}"))).decode()
            except FileNotFoundError:
                return ""

    def manifest(self, name: str) -> Manifest | None:
        """What lies under a name; None: nothing whole.

        Raises:
            StoreError: the store does not answer.
        """
        with self._speaking() as (files, root):
            try:
                said = _again(partial(files.cat_file, f"{root}/{name}/{MANIFEST}"))
            except FileNotFoundError:
                return None
        return _understood(said)

    def fetch(self, name: str, path: Path) -> bool:
        """Write what lies under a name to a path that does not exist, whole or not at all.

        Where another process has written the path meanwhile, that one stays.

        Returns:
            Whether there is something under that name.

        Raises:
            DamagedError: a file is missing, or hashes to something else, twice.
            StoreError: the store does not answer, or the disk takes no more.
        """
        damage: DamagedError | None = None
        for _ in range(2):  # the second time after a replacement, or a fault on the way
            manifest = self.manifest(name)
            if manifest is None:
                return False
            try:
                self._fetch(name, manifest, path)
            except DamagedError as error:
                damage = error
            else:
                return True
        assert damage is not None
        raise damage

    def forget(self, name: str) -> None:
        """Take away what lies whole under a name, its manifest first; what another puts stays."""
        before = self.manifest(name)
        with self._speaking() as (files, root):
            with suppress(FileNotFoundError):
                files.rm(f"{root}/{name}/{MANIFEST}")
            if before is not None:
                with suppress(FileNotFoundError):
                    files.rm(f"{root}/{name}/{before.content}", recursive=True)

    def check(self) -> None:
        """Write something, read it and take it away.

        Raises:
            StoreError: this process may not, or nobody answers.
        """
        with self._speaking() as (files, root):
            path = f"{root}/.{PROBE}-{os.getpid()}-{time.time_ns()}"
            _make_way(files, path)
            files.pipe_file(path, b"codeladder")
            if files.cat_file(path) != b"codeladder":
                raise StoreError(f"{self.url} returns something else than was written")
            files.rm(path)

    def _fetch(self, name: str, manifest: Manifest, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft_of(path) as draft, self._speaking() as (files, root):
            for relative, known in manifest.files.items():
                target = draft / relative if manifest.folder else draft
                target.parent.mkdir(parents=True, exist_ok=True)
                source = f"{root}/{name}/{manifest.content}/{relative}"
                try:
                    _again(partial(files.get_file, source, str(target)))
                except FileNotFoundError:
                    raise DamagedError(f"{self.url}: {name} lacks {relative}") from None
                if _described(target) != known:
                    raise DamagedError(
                        f"{self.url}: {relative} of {name} does not hash to what was put there"
                    )

    @contextmanager
    def _speaking(self) -> Iterator[tuple[Any, str]]:
        """The file system and the root in it; whatever goes wrong there names the store."""
        import fsspec

        try:
            files, root = fsspec.url_to_fs(self.url, **_options(self.url))
            yield files, str(root).rstrip("/")
        except StoreError:
            raise
        except Exception as error:  # each kind of store has errors of its own
            cause = str(error).strip().splitlines() or [type(error).__name__]
            raise StoreError(
                without_secrets(f"the store {self.url} ({VARIABLE}) cannot be used: {cause[0]}")
            ) from error


def described(path: Path) -> Manifest:
    """What would be put of a folder or a file."""
    folder = path.is_dir()
    found = sorted(one for one in path.rglob("*") if one.is_file()) if folder else [path]
    names = [one.relative_to(path).as_posix() if folder else path.name for one in found]
    files = {name: _described(one) for name, one in zip(names, found, strict=True)}
    return Manifest(title=path.name, folder=folder, files=files)


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _understood(said: bytes) -> Manifest | None:
    """A manifest; None: it was cut off, is of another version, or names a file outside."""
    try:
        manifest = Manifest(**json.loads(said))
    except (ValueError, TypeError):
        return None
    inside = all(map(_is_inside, manifest.files)) and _is_inside(manifest.title)
    return manifest if manifest.version == VERSION and inside else None


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _again(act: Callable[[], Found]) -> Found:
    """Try what a store refused again, but for what would be refused for ever."""
    for pause in PAUSES:
        try:
            return act()
        except (FileNotFoundError, PermissionError):
            raise
        except Exception:  # each kind of store has errors of its own
            time.sleep(pause)
    return act()


def _make_way(files: Any, path: str) -> None:
    """Make the folder of a file where there are folders; in a bucket there are none."""
    if "file" in files.protocol or "local" in files.protocol:
        files.makedirs(path.rpartition("/")[0], exist_ok=True)


def _options(url: str) -> dict[str, Any]:
    """Nothing that another process has written meanwhile may be hidden."""
    return {} if urlsplit(url).scheme in ("file", "local") else {"use_listings_cache": False}


def _require_known(url: str) -> None:
    import fsspec

    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query:
        raise UserError(
            f"{VARIABLE} holds a login or options: leave it a plain URL, and give credentials in "
            "the variables that the store's own client reads, such as AWS_ACCESS_KEY_ID"
        )
    scheme = parts.scheme or "file"
    if scheme == "memory":
        raise UserError(f"{VARIABLE}: what lies in memory:// is gone with each process")
    if scheme not in fsspec.available_protocols():
        known = nearest(scheme, [*fsspec.available_protocols()])
        raise UserError(f"{VARIABLE}: no store is known for {scheme}://.{known}")
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError:
        package = EXTRAS.get(scheme, "its package of fsspec")
        raise UserError(
            f"{VARIABLE}: {scheme}:// needs {package}: .venv/bin/pip install {package}"
        ) from None
