"""Copies of what runs leave, under the URL that `CODELADDER_STORE` names: which there are, and
their end.

`jobs.storage` puts and fetches them. Of how they lie there this knows as much as pruning needs:
what a run has in its folder of work has the same path below the URL, and counts while its manifest
is there.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

VARIABLE = "CODELADDER_STORE"
MANIFEST = "manifest.json"


class StoreError(Exception):
    """The store cannot be used; the message holds no secret.

    StoreError
    └── StoreAwayError
    """


class StoreAwayError(StoreError):
    """It does not answer, or refused something; the same may succeed later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """What a store has of one run."""

    folders: tuple[str, ...]
    """Below the URL."""
    size: int
    """Bytes of all files in them."""


NO_COPIES = Copies(folders=(), size=0)


@dataclass(frozen=True, slots=True)
class Store:
    """What lies below one URL."""

    url: str

    @classmethod
    def from_environment(cls) -> "Store | None":
        """The store that `CODELADDER_STORE` names; None where it names none.

        Raises:
            StoreError: its URL holds a login.
        """
        given = os.environ.get(VARIABLE, "")
        if not given:
            return None
        if "@" in urlsplit(given).netloc:
            raise StoreError(f"{VARIABLE} holds a login: leave it a plain URL")
        return cls(given if "://" in given else Path(given).absolute().as_uri())

    def copies(self, run_id: str, names: Sequence[str]) -> Copies:
        """What there is of these folders of a run; a link is none, whatever it leads to.

        Raises:
            StoreError: the store cannot be used.
        """
        found: dict[str, int] = {}
        with self._files() as (files, root):
            for name in names if not _is_link(files, f"{root}/{run_id}") else ():
                folder = f"{run_id}/{name}"
                if not _is_link(files, f"{root}/{folder}"):
                    there = files.find(f"{root}/{folder}", detail=True).values()
                    found |= {folder: sum(one["size"] for one in there)} if there else {}
        return Copies(folders=tuple(found), size=sum(found.values()))

    def remove(self, copies: Copies) -> None:
        """Take copies away, manifests first: what a killed removal leaves is not there.

        Raises:
            StoreError: the store cannot be used.
        """
        with self._files() as (files, root):
            for folder in copies.folders:
                there = files.find(f"{root}/{folder}")
                for path in [one for one in there if one.endswith(f"/{MANIFEST}")]:
                    files.rm_file(path)
                if there:
                    files.rm(f"{root}/{folder}", recursive=True)

    @contextmanager
    def _files(self) -> Iterator[tuple[Any, str]]:
        """The file system and the root in it; whatever goes wrong there names the store."""
        import fsspec

        local = urlsplit(self.url).scheme in ("file", "local")
        options = {} if local else {"use_listings_cache": False}
        try:
            files, root = fsspec.url_to_fs(self.url, **options)
            yield files, str(root).rstrip("/")
        except (ImportError, ValueError) as error:
            raise StoreError(f"the store {self.url} ({VARIABLE}) is not known: {error}") from None
        except Exception as error:  # each kind of store has errors of its own
            cause = str(error).strip().splitlines() or [type(error).__name__]
            raise StoreAwayError(
                f"the store {self.url} ({VARIABLE}) cannot be used: {cause[0]}"
            ) from None


def _is_link(files: Any, path: str) -> bool:
    """Only a store that is a folder has links."""
    return bool(files.exists(path) and files.info(path).get("islink"))
