"""Base models of the hub, fetched into huggingface_hub's cache: cut off, it goes on where it was.

huggingface_hub 2 begins a file anew in every process. Large files are therefore fetched here, byte
range by byte range, and put where the library looks for them; it fetches the small ones.
"""

import fcntl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event, Lock
from typing import Any

from jobs.declared import UserError
from jobs.hub.cache import HubFile, HubModel, blob, is_genuine, is_here, partial, place, size_of
from jobs.hub.models import GIB, unreachable

AT_ONCE = 4
"""Files fetched side by side."""
WAITS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before each further try that follows one which brought nothing."""
READ_SECONDS = 30.0
"""A connection that brings nothing for so long is given up."""

Say = Callable[[str, int, int], None]
"""Takes a model's name in the experiment, its bytes that are here, and all of its bytes."""


class DownloadError(UserError):
    """A download that did not end well; what has come is kept."""


def download(models: Sequence[HubModel], say: Say) -> None:
    """Fetch what is missing of some models, and check every file that comes.

    Safe to repeat, and in several processes at once: of a file that was cut off the rest is
    fetched. A network that fails is tried again, but not without end.

    Raises:
        DownloadError: the hub cannot be reached, or sends what it does not list.
    """
    for model in models:
        wanted = model.missing
        if wanted:
            _Download(model, say).run(wanted)


class _Download:
    """Of one model."""

    def __init__(self, model: HubModel, say: Say) -> None:
        self._model = model
        self._say = say
        self._total = sum(file.size for file in model.files)
        missing = sum(file.size for file in model.missing)
        self._done = self._total - missing
        self._lock = Lock()
        self._stop = Event()

    def run(self, wanted: Sequence[HubFile]) -> None:
        """Fetch these files; the first that fails stops the others where they are."""
        large = [file for file in wanted if file.is_large]
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            for one in as_completed([pool.submit(self._fetch, file) for file in large]):
                one.result()
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)
        self._rest(wanted)

    def _fetch(self, file: HubFile) -> None:
        """Put a large file among the blobs of the cache, whole and checked."""
        final, part = blob(self._model.hub, file), partial(self._model.hub, file)
        final.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX)  # another process may be fetching the same
            if size_of(final) == file.size:
                part.unlink(missing_ok=True)
                self._tell(file.size)
                return
            went_on = size_of(part) > 0
            self._fill(part, opened, file)
            if went_on and not is_genuine(part, file):  # what was left of it had been damaged
                opened.truncate(0)
                self._tell(-file.size)
                self._fill(part, opened, file)
            self._check(part, file)
            part.replace(final)

    def _fill(self, part: Path, opened: Any, file: HubFile) -> None:
        """Append until the file is whole, however often the connection breaks."""
        tries = iter(WAITS)
        self._tell(min(size_of(part), file.size))
        while (had := size_of(part)) != file.size:
            if self._stop.is_set():
                raise self._failed(file, had, "another file failed")
            try:
                self._append(opened, file, had)
                reason = "the connection ended early"
            except Exception as error:  # sorted by what is worth another try
                reason = unreachable(error) or ""
                if not reason:
                    raise self._failed(file, size_of(part), " ".join(str(error).split())) from error
            if size_of(part) > had:
                tries = iter(WAITS)
            elif (wait := next(tries, None)) is None:
                raise self._failed(file, had, reason)
            else:
                self._stop.wait(wait)

    def _append(self, opened: Any, file: HubFile, had: int) -> None:
        """One request for what is missing of a file."""
        from huggingface_hub import get_session, get_token, hf_hub_url, hf_raise_for_status

        if had > file.size:
            opened.truncate(0)
            had = 0
        url = hf_hub_url(self._model.hub, file.name, revision=self._model.revision)
        token = get_token()
        headers = {"Accept-Encoding": "identity"}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        headers |= {"Range": f"bytes={had}-"} if had else {}
        with get_session().stream("GET", url, headers=headers, timeout=READ_SECONDS) as response:
            hf_raise_for_status(response)
            if had and response.status_code == 200:  # ranges are not served: from the start
                opened.truncate(0)
                self._tell(-had)
            for chunk in response.iter_bytes():
                opened.write(chunk)
                opened.flush()
                self._tell(len(chunk))
                if self._stop.is_set():
                    return

    def _check(self, part: Path, file: HubFile) -> None:
        if is_genuine(part, file):
            return
        part.unlink()
        raise self._failed(
            file, 0, f"what came has not the sha256 {file.digest}, so it was deleted"
        )

    def _rest(self, files: Sequence[HubFile]) -> None:
        """Let the library fetch the small files, and name the large ones in its cache."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.utils.tqdm import disable_progress_bars

        hub, revision = self._model.hub, self._model.revision
        for file in files:
            if not is_here(hub, revision, file):  # an entry of the wrong size would be kept
                place(hub, revision, file.name).unlink(missing_ok=True)
        for wait in (*WAITS[:3], None):
            try:
                with disable_progress_bars():
                    names = [file.name for file in files]
                    snapshot_download(hub, revision=revision, allow_patterns=names)
                break
            except Exception as error:  # sorted by what is worth another try
                reason = unreachable(error)
                if reason is None or wait is None:
                    said = reason or " ".join(str(error).split())
                    raise DownloadError(f"models.{self._model.name}: {hub}: {said}") from error
                time.sleep(wait)
        for file in files:
            self._check_small(file)

    def _check_small(self, file: HubFile) -> None:
        found = place(self._model.hub, self._model.revision, file.name)
        if file.is_large and is_here(self._model.hub, self._model.revision, file):
            return
        if not is_genuine(found, file):
            found.resolve().unlink(missing_ok=True)
            found.unlink(missing_ok=True)
            raise self._failed(file, 0, f"what came has not git's id {file.digest}")
        self._tell(file.size)

    def _tell(self, more: int) -> None:
        with self._lock:
            self._done += more
            done = self._done
        self._say(self._model.name, done, self._total)

    def _failed(self, file: HubFile, had: int, reason: str) -> DownloadError:
        return DownloadError(
            f"models.{self._model.name}: {self._model.hub}/{file.name}: {reason[:300]}; "
            f"{had / GIB:.2f} of {file.size / GIB:.2f} GiB are here and are kept. The same command "
            "goes on from there"
        )
