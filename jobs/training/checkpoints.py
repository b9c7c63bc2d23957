"""Points from which a killed training goes on, without any change to its outcome.

A checkpoint is a folder, `step-00000050`: the trained weights, each worker's part of the optimizer
(safetensors both), the steps so far, and a manifest that says whose it is and what its files hash
to. The order of the rows, the learning rate and the random numbers of a step follow from the seed
and the step (`jobs.training.schedule`, `jobs.training.loop`), so there is nothing of them to save.

It is written under another name and renamed when all workers have written their part, so it is
there as a whole or not at all. What is found at a start is not believed: what was begun only, what
is of another training, and what does not hash to its manifest, is swept, and the one before used.
All workers must see the folder.
"""

import hashlib
import json
import logging
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.training.fence import Fence
from jobs.training.order import TrainingError
from jobs.training.settings import Spread
from jobs.training.steps import STEPS, Step, read_steps, write_steps
from jobs.training.whole import draft_name, publish, settle, sweep

if TYPE_CHECKING:
    from torch import Tensor

    from jobs.training.peers import Peers

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
RESUMED = "resumed"
KEPT = 2
"""Newest checkpoints that are not swept; those with the best weights so far are not either."""
SEEN_SECONDS = 10.0
"""Until a file that one worker wrote must be there for another; network disks are late."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A checkpoint that is whole, read."""

    steps: tuple[Step, ...]
    weights: "dict[str, Tensor]"
    """What an engine's `weights` returned."""
    optimizer: "dict[str, Tensor]"
    """What this worker's engine's `state` returned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """The checkpoints of one training, as one worker sees them. All workers call the same."""

    folder: Path
    identity: Mapping[str, Any]
    """What the outcome follows from, JSON types only; a checkpoint that says another is foreign."""
    spread: Spread
    peers: "Peers"
    saved: Callable[[Path], None] | None = None
    """Told of each that is there, on the first worker; raises nothing but that another start has
    superseded this one."""
    fence: Fence | None = None
    """Asked on the first worker before anything is written or swept."""

    def open(self) -> None:
        """Sweep what was begun only, and find out whether all workers see the folder.

        Raises:
            TrainingError: they do not.
        """
        probe = self.folder / self.peers.told(draft_name("probe"))[0]
        self.peers.together(lambda: self._begin(probe))
        self.peers.together(lambda: self._expect(probe))
        if self.peers.first:
            shutil.rmtree(probe, ignore_errors=True)

    def latest(self) -> Found | None:
        """The newest checkpoint that is whole and fits; None where there is none.

        A whole optimizer (one worker, or a copy on each) fits any number of workers; parts of one
        fit only the same spread.

        Raises:
            TrainingError: on all workers, if one cannot read it.
        """
        for path in self.peers.told(self._candidates() if self.peers.first else [])[0]:
            flaw = next((said for said in self.peers.told(self._flaw(path)) if said), None)
            if flaw is None:
                found = self.peers.together(partial(self._read, path))
                self._count_resumed(len(found.steps))
                return found
            if self.peers.first:
                _log.warning("%s is swept: %s", path, flaw)
                sweep(path)
        return None

    def save(
        self,
        steps: Sequence[Step],
        weights: "Mapping[str, Tensor]",
        optimizer: "Mapping[str, Tensor]",
        best: int | None,
    ) -> None:
        """Write a checkpoint after the last of these steps; when this returns, it is there.

        Args:
            steps: all so far.
            weights: whole; looked at on the first worker only.
            optimizer: this worker's; looked at on the first only, where the optimizer is whole.
            best: a step whose weights are wanted at the end, which has a checkpoint or gets it now.

        Raises:
            TrainingError: on all workers, if one cannot write. Earlier checkpoints are as before.
        """
        path = self.folder / _name(steps[-1].step)
        draft = self.folder / self.peers.told(draft_name(path.name))[0]
        try:
            self.peers.together(lambda: self._begin(draft))
            written = self.peers.together(lambda: self._write(draft, steps, weights, optimizer))
            files = {name: file for part in self.peers.told(written) for name, file in part.items()}
            self.peers.together(lambda: self._publish(draft, path, files, best))
        except TrainingError:
            if self.peers.first:
                shutil.rmtree(draft, ignore_errors=True)
            raise

    def weights(self, step: int) -> "dict[str, Tensor]":
        """Those of the checkpoint after a step, which `save` was told is wanted.

        Raises:
            TrainingError: it is not whole.
        """
        path = self.folder / _name(step)
        manifest = _manifest(path)
        if manifest is None or not _intact(path, manifest["files"], [WEIGHTS]):
            raise TrainingError(
                f"{path}, whose weights were the best, is damaged; remove {self.folder} to train "
                "from the beginning"
            )
        return _load(path / WEIGHTS)

    @property
    def resumed(self) -> int:
        """How often a training went on from one of these."""
        path = self.folder / RESUMED
        return len(path.read_text().splitlines()) if path.exists() else 0

    def _candidates(self) -> list[Path]:
        """Whole folders of this training that fit, newest first; others are swept or left."""
        found = []
        for _, path in sorted(_published(self.folder), reverse=True):
            manifest = _manifest(path)
            if manifest is None or manifest["identity"] != self.identity:
                _log.warning("%s is swept: it is of another training, or torn", path)
                sweep(path)
            elif not self._fits(manifest["spread"]):
                spread = manifest["spread"]
                _log.warning(
                    "%s is passed over: its optimizer is in parts for %d workers under %s, and "
                    "this is %d under %s",
                    *(path, spread["ranks"], spread["strategy"]),
                    *(self.spread.ranks, self.spread.strategy),
                )
            else:
                found.append(path)
        return found

    def _fits(self, spread: Mapping[str, Any]) -> bool:
        before = Spread(**spread)
        return before == self.spread if self._sharded else before.stage is None

    @property
    def _sharded(self) -> bool:
        return self.spread.stage is not None

    def _flaw(self, path: Path) -> str | None:
        """What is wrong with the files that this worker answers for."""
        manifest = _manifest(path)
        if manifest is None:
            return f"worker {self.peers.rank} cannot read its manifest"
        own = [_rank_file(self.peers.rank)] if self._sharded or self.peers.first else []
        own += [WEIGHTS, STEPS] if self.peers.first else []
        if not _intact(path, manifest["files"], own):
            return f"a file of worker {self.peers.rank} is not what was written"
        return None

    def _read(self, path: Path) -> Found:
        from safetensors import SafetensorError

        try:
            return Found(
                steps=tuple(read_steps(path / STEPS)),
                weights=_load(path / WEIGHTS),
                optimizer=_load(path / _rank_file(self.peers.rank if self._sharded else 0)),
            )
        except (OSError, ValueError, SafetensorError) as error:
            raise TrainingError(
                f"worker {self.peers.rank} on {socket.gethostname()} cannot read {path}, which the "
                f"first worker found whole: {error}"
            ) from None

    def _count_resumed(self, step: int) -> None:
        if self.peers.first:
            with (self.folder / RESUMED).open("a") as file:
                file.write(f"{step}\n")

    def _begin(self, draft: Path) -> None:
        """A new draft; earlier ones are of somebody who is dead, or ought to be."""
        if not self.peers.first:
            return
        if self.fence:
            self.fence.require()
        for left in self.folder.glob("*.draft-*"):
            shutil.rmtree(left, ignore_errors=True)
        try:
            draft.mkdir(parents=True)
        except OSError as error:
            raise _unwritten(draft, error) from None

    def _expect(self, path: Path) -> None:
        if not _appears(path):
            raise TrainingError(
                f"worker {self.peers.rank} on {socket.gethostname()} does not see {path}, which "
                "the first worker has made: put the folder of runs (CODELADDER_HOME) on a disk "
                "that all nodes share"
            )

    def _write(
        self,
        draft: Path,
        steps: Sequence[Step],
        weights: "Mapping[str, Tensor]",
        optimizer: "Mapping[str, Tensor]",
    ) -> dict[str, dict[str, Any]]:
        """This worker's files; their sizes and digests."""
        from safetensors import SafetensorError

        self._expect(draft)
        names = []
        try:
            if self._sharded or self.peers.first:
                names.append(_save(optimizer, draft / _rank_file(self.peers.rank)))
            if self.peers.first:
                names.append(_save(weights, draft / WEIGHTS))
                write_steps(steps, draft / STEPS)
                names.append(STEPS)
            return {name: _described(draft / name) for name in names}
        except (OSError, SafetensorError) as error:
            raise _unwritten(draft, error) from None

    def _publish(
        self, draft: Path, path: Path, files: Mapping[str, dict[str, Any]], best: int | None
    ) -> None:
        if not self.peers.first:
            return
        if self.fence:
            self.fence.require()
        for name in files:
            self._expect(draft / name)
        step = int(path.name.removeprefix("step-"))
        manifest = {
            "step": step,
            "best": best,
            "identity": self.identity,
            "spread": asdict(self.spread),
            "files": files,
        }
        try:
            (draft / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
            for settled in (draft / MANIFEST, draft):
                settle(settled)
            if self.fence:
                self.fence.require()  # the disk may have hung for long
            publish(path, draft)
            settle(self.folder)
        except OSError as error:
            raise _unwritten(draft, error) from None
        self._retire(step)
        if self.saved is not None:
            self.saved(path)

    def _retire(self, step: int) -> None:
        """Sweep what no start would want: all but the newest two, and the best that they name.

        Later ones are left: they were passed over, and fit again when their workers are back.
        """
        earlier = {number: path for number, path in _published(self.folder) if number <= step}
        kept = set(sorted(earlier)[-KEPT:])
        manifests = [_manifest(earlier[number]) or {} for number in kept]
        kept |= {manifest["best"] for manifest in manifests if manifest.get("best")}
        for number, path in earlier.items():
            if number not in kept:
                sweep(path)


def newest(folder: Path) -> int:
    """Step of the newest checkpoint in a folder, whole or not; 0 where there is none."""
    return max((step for step, _ in _published(folder)), default=0)


def _published(folder: Path) -> Iterable[tuple[int, Path]]:
    for path in folder.glob("step-*"):
        number = path.name.removeprefix("step-")
        if number.isdigit():
            yield int(number), path


def _name(step: int) -> str:
    return f"step-{step:08}"


def _rank_file(rank: int) -> str:
    return f"rank-{rank}.safetensors"


def _manifest(path: Path) -> dict[str, Any] | None:
    """What a checkpoint says of itself; None where that is no manifest of ours."""
    try:
        found = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    wanted = {"step", "best", "identity", "spread", "files"}
    return found if isinstance(found, dict) and wanted <= set(found) else None


def _intact(path: Path, files: Mapping[str, Any], names: Iterable[str]) -> bool:
    try:
        return all(_described(path / name) == files.get(name) for name in names)
    except OSError:
        return False


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _save(tensors: "Mapping[str, Tensor]", path: Path) -> str:
    from safetensors.torch import save_file

    save_file(dict(tensors), path)
    settle(path)
    return path.name


def _load(path: Path) -> "dict[str, Tensor]":
    from safetensors.torch import load_file

    found: dict[str, Tensor] = load_file(path)
    return found


def _appears(path: Path) -> bool:
    deadline = time.monotonic() + SEEN_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _unwritten(draft: Path, error: Exception) -> TrainingError:
    free = shutil.disk_usage(draft.parent if draft.parent.exists() else "/").free
    return TrainingError(
        f"a checkpoint could not be written to {draft.parent}: {error} ({free / 2**30:.1f} GiB "
        "free). Make room and run again: earlier checkpoints are whole"
    )
