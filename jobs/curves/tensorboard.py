"""Curves as TensorBoard's event files, one folder a run.

A file is a list of records: eight bytes of length, four of checksum, the event, four of checksum
(https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/lib/io/record_writer.h).
Each record is one step with all its curves, so a process that is killed leaves whole steps.
"""

import re
import struct
from collections.abc import Sequence
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary

from database.facts import RunFacts
from database.queries import ACTIVE
from jobs.curves.copies import Point

HEADER = struct.Struct("<QI")
FOOTER_SIZE = 4
LABEL_AT_MOST = 150
"""Characters of a run's label in the name of its folder; file systems end at 255 bytes."""


class TensorBoard:
    """A folder for `tensorboard --logdir`."""

    name = "TensorBoard"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hint = f"tensorboard --logdir {folder}"
        self._writers: dict[str, EventsWriter] = {}

    def last_step(self, run: RunFacts) -> int:
        """The furthest step in the run's files; a record that was cut off does not count."""
        return max(map(_last_step, self._files(run)), default=0)

    def write(self, run: RunFacts, points: Sequence[Point]) -> None:
        """Add points to a file of this process."""
        if points:
            self._add(run, points)
        if run.state not in ACTIVE and run.id in self._writers:
            self._writers.pop(run.id).close()

    def close(self) -> None:
        """Close the files."""
        while self._writers:
            self._writers.popitem()[1].close()

    def folder_of(self, run: RunFacts) -> Path:
        """Named by label and id, since two runs may share a label."""
        label = re.sub(r"[^\w.+-]+", "-", run.label, flags=re.ASCII).strip("-.")
        return self.folder / f"{label[:LABEL_AT_MOST]}-{run.id}"

    def _add(self, run: RunFacts, points: Sequence[Point]) -> None:
        writer = self._writers.get(run.id) or self._begun(run)
        for point in points:
            values = [Summary.Value(tag=k, simple_value=v) for k, v in point.values.items()]
            summary = Summary(value=values)
            writer.write_event(Event(wall_time=point.at, step=point.step, summary=summary))
        writer.flush()

    def _begun(self, run: RunFacts) -> EventsWriter:
        folder = self.folder_of(run)
        folder.mkdir(parents=True, exist_ok=True)
        # several files may begin in one second, and TensorBoard reads them in the order of names
        suffix = f".{len(self._files(run)):06}"
        self._writers[run.id] = EventsWriter(str(folder / "events"), suffix)
        return self._writers[run.id]

    def _files(self, run: RunFacts) -> list[Path]:
        return sorted(self.folder_of(run).glob("*tfevents*"))


def _last_step(path: Path) -> int:
    """Of the last whole record of a file, whose steps are in order."""
    size = path.stat().st_size
    last = b""
    with path.open("rb") as file:
        while len(header := file.read(HEADER.size)) == HEADER.size:
            length, _ = HEADER.unpack(header)
            if file.tell() + length + FOOTER_SIZE > size:
                break
            last = file.read(length)
            file.seek(FOOTER_SIZE, 1)
    return int(Event.FromString(last).step)
