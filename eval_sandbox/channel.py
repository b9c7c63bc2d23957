"""Frames on a pipe or socket: four bytes of length, little-endian, and that many bytes."""

import os
import select

MAX_FRAME = 16 << 20
"""Longest frame that is read from a candidate, in bytes; a longer result is an output_limit."""
LONGEST_ORDER = 1 << 30
"""Longest frame that is read from our own side: a problem and a program, in bytes."""

_CHUNK = 1 << 16


class ClosedError(Exception):
    """The other side is gone."""


class TooLongError(Exception):
    """The other side announces more than may be read."""


def send(descriptor: int, payload: bytes) -> None:
    """Write one frame, waiting for room.

    Raises:
        ClosedError: nobody can read it any more.
    """
    rest = memoryview(len(payload).to_bytes(4, "little") + payload)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except (BrokenPipeError, ConnectionResetError):
        raise ClosedError from None


class Frames:
    """Reads frames from one descriptor."""

    def __init__(self, descriptor: int, longest: int = MAX_FRAME) -> None:
        """Begin to read.

        Args:
            descriptor: a pipe or socket.
            longest: bytes that a frame may have.
        """
        self.descriptor = descriptor
        self._longest = longest
        self._kept = bytearray()
        self._at = 0
        self.ended = False

    def next(self) -> bytes:
        """The next frame, waiting for it.

        Raises:
            ClosedError: the other side closed before a whole frame was there.
            TooLongError: more than `longest` is announced.
        """
        while (frame := self.arrived()) is None:
            if self.ended:
                raise ClosedError
            self.read()
        return frame

    def arrived(self) -> bytes | None:
        """The next frame if all of it was read already.

        Raises:
            TooLongError: more than `longest` is announced.
        """
        begin = self._at + 4
        if len(self._kept) < begin:
            return None
        end = begin + int.from_bytes(self._kept[self._at : begin], "little")
        if end - begin > self._longest:
            raise TooLongError
        if len(self._kept) < end:
            return None
        frame = bytes(self._kept[begin:end])
        self._at = end
        if end == len(self._kept):
            self._kept.clear()
            self._at = 0
        return frame

    def read(self) -> None:
        """Take what is there, waiting for something."""
        chunk = os.read(self.descriptor, _CHUNK)
        if chunk:
            self._kept += chunk
        else:
            self.ended = True

    def wait(self, seconds: float) -> bool:
        """Whether there is something to read within `seconds`."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def read_at_hand(self) -> None:
        """Take what is there now, without waiting."""
        while not self.ended and len(self._kept) - self._at <= self._longest + 4 and self.wait(0):
            self.read()
