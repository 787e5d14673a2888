"""When to send a request again: as often as the service says that it may help, and never beyond the deadline."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import Final

from landmarks_client.errors import ClientUsageError, LandmarksError
from landmarks_client.wire import Attempt, checked_header

FIRST_DELAY: Final = 0.05
"""Seconds before the first retry; doubled for each further one, and never less than what the service asks for."""
_JITTER: Final = 0.25
"""Share of a delay that is random, so that clients that were rejected together do not return together."""


class Attempts:
    """The attempts at one request. Inference has no side effects, so that every attempt may be repeated."""

    def __init__(self, request_id: str, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`timeout`: seconds for all attempts together.

        Raises ClientUsageError for a timeout that is not positive and finite, or an id that no header can carry.
        """
        if not (math.isfinite(timeout) and timeout > 0):
            raise ClientUsageError("the timeout must be a positive number of seconds")
        self._request_id = checked_header("the request id", request_id)
        self._clock = clock
        self._end = clock() + timeout
        self._delay = FIRST_DELAY

    def next(self) -> Attempt:
        """The attempt to make now."""
        return Attempt(self._request_id, max(self._end - self._clock(), 1e-3))

    def delay_after(self, error: LandmarksError) -> float:
        """Seconds to wait before the next attempt. Raises `error` when a retry cannot help or would come too late."""
        if error.retry_after is None:
            raise error
        delay = max(error.retry_after, self._delay) * random.uniform(1, 1 + _JITTER)  # noqa: S311
        self._delay *= 2
        if self._clock() + delay >= self._end:
            raise error
        return delay
