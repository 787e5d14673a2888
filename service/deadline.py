"""The moment by which a request must be answered: made once, where a request comes in, and passed down unchanged."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass


class DeadlineExceeded(asyncio.TimeoutError):
    """The deadline has passed. Whoever handles a timeout of asyncio handles this as well."""


@dataclass(frozen=True)
class Deadline:
    """A point in time that every step of a request shares."""

    ends_at: float
    """Seconds on the clock of `time.monotonic`."""

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline that lies `seconds` from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds that are left, above 0. Raises DeadlineExceeded when there are none."""
        seconds = self.ends_at - time.monotonic()
        if seconds <= 0:
            raise DeadlineExceeded("the deadline has passed")
        return seconds
