"""When the next request may begin, and how long to wait before the same one is sent again."""

import asyncio
import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_WAIT = 1.0
"""Seconds before a request is sent again for the first time; each further wait is twice as long."""
LONGEST_WAIT = 60.0


class Pace:
    """Spaces the requests to one server; belongs to one event loop."""

    def __init__(self, per_minute: float) -> None:
        """Let at most `per_minute` begin in a minute; 0: as many as want to."""
        self._gap = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        """Wait until a request may begin."""
        while (wait := self._next - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        self._next = time.monotonic() + self._gap

    def hold(self, seconds: float) -> None:
        """Let no request begin for so long: the server asked for it."""
        self._next = max(self._next, time.monotonic() + seconds)


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row.

    Exponential, between half and all of it, so that requests which failed together do not come
    back together.
    """
    longest = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (failures - 1))
    return longest * random.uniform(0.5, 1)


def retry_after(header: str | None) -> float | None:
    """Seconds that a Retry-After header (RFC 9110, section 10.2.3) asks for; None: it says nothing
    that can be read."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        return _until(header)


def _until(date: str) -> float | None:
    """Seconds to an HTTP date; None: it is none."""
    try:
        until = parsedate_to_datetime(date)
    except ValueError:
        return None
    return max(0.0, (until.astimezone(UTC) - datetime.now(UTC)).total_seconds())
