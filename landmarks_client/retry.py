"""When to try again: as often as the service says that it may help, and never beyond the deadline."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import Final

from landmarks_client.errors import LandmarksError
from landmarks_client.wire import Call, ClientUsageError, header

FIRST_WAIT: Final = 0.05
"""Seconds; doubled with every further attempt, and never less than what the service asks for."""
_JITTER: Final = 0.25
"""So that clients that were turned away together do not come back together."""


class Attempts:
    """The tries at one request. Inference changes nothing, so that each of them may be repeated."""

    def __init__(self, request_id: str, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`timeout`: seconds for all tries together. Raises ClientUsageError where they are no positive number, or
        the id is one that no header can carry.
        """
        if not (math.isfinite(timeout) and timeout > 0):
            raise ClientUsageError("the timeout must be a positive number of seconds")
        self._request_id = header("the request id", request_id)
        self._clock = clock
        self._end = clock() + timeout
        self._wait = FIRST_WAIT

    def next(self) -> Call:
        """The attempt to make now."""
        return Call(self._request_id, max(self._end - self._clock(), 1e-3))

    def wait_after(self, error: LandmarksError) -> float:
        """Seconds to wait before the next try. Raises `error` where another try cannot help or would come too late."""
        if error.retry_after is None:
            raise error
        wait = max(error.retry_after, self._wait) * random.uniform(1, 1 + _JITTER)  # noqa: S311
        self._wait *= 2
        if self._clock() + wait >= self._end:
            raise error
        return wait
