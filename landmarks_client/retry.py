"""When to send a request again: as often as the service says that it may help, and never beyond the deadline.

A full queue is asked again only within a budget, so that retries do not multiply the load of a service that already has
more than it can do.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from typing import Final

from landmarks_client.errors import ClientUsageError, LandmarksError
from landmarks_client.wire import Attempt, checked_header

FIRST_DELAY: Final = 0.05
"""Seconds before the first retry; doubled for each further one, and never less than what the service asks for."""
_JITTER: Final = 0.25
"""Share of a delay that is random, so that clients that were rejected together do not return together."""

BUDGET_SHARE: Final = 0.125
"""Retries of full queues that each request earns."""
BUDGET_PER_SECOND: Final = 0.5
"""Retries of full queues that each second earns, so that a client with few requests can retry, too."""
BUDGET_RESERVE: Final = 10.0
"""Retries of full queues that can be saved up; as many are there at the beginning."""


class RetryBudget:
    """How many retries of full queues all requests of a client together may make.

    In t seconds with n requests they are at most BUDGET_RESERVE + BUDGET_SHARE * n + BUDGET_PER_SECOND * t. Several
    threads may share a budget.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, from any origin."""
        self._clock = clock
        self._lock = threading.Lock()
        self._balance = BUDGET_RESERVE
        self._updated_at = clock()

    def add_request(self) -> None:
        """A request begins; its retries are none."""
        with self._lock:
            self._earn(BUDGET_SHARE)

    def take(self, within: float = 0.0) -> float | None:
        """Takes one retry, if it is earned `within` so many seconds from now: returns in how many. None if it is not.

        The retries of several requests that wait are earned one after the other.
        """
        with self._lock:
            self._earn(0.0)
            delay = max(0.0, (1.0 - self._balance) / BUDGET_PER_SECOND)
            if delay > within:
                return None
            self._balance -= 1.0
            return delay

    def _earn(self, retries: float) -> None:
        now = self._clock()
        retries += (now - self._updated_at) * BUDGET_PER_SECOND
        self._balance, self._updated_at = min(BUDGET_RESERVE, self._balance + retries), now


class Attempts:
    """The attempts at one request. Inference has no side effects, so that every attempt may be repeated."""

    def __init__(
        self, request_id: str, timeout: float, budget: RetryBudget, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`timeout`: seconds for all attempts together. `budget`: of the client.

        Raises ClientUsageError for a timeout that is not positive and finite, or an id that no header can carry.
        """
        if not (math.isfinite(timeout) and timeout > 0):
            raise ClientUsageError("the timeout must be a positive number of seconds")
        self._request_id = checked_header("the request id", request_id)
        self._budget = budget
        self._clock = clock
        self._end = clock() + timeout
        self._delay = FIRST_DELAY
        budget.add_request()

    def next(self) -> Attempt:
        """The attempt to make now."""
        return Attempt(self._request_id, max(self._end - self._clock(), 1e-3))

    def delay_after(self, error: LandmarksError) -> float:
        """Seconds to wait before the next attempt. Raises `error` when a retry cannot help or would come too late.

        After `overloaded` a retry also waits until the budget allows it.
        """
        if error.retry_after is None:
            raise error
        delay = max(error.retry_after, self._delay) * random.uniform(1, 1 + _JITTER)  # noqa: S311
        self._delay *= 2
        remaining = self._end - self._clock()
        if delay >= remaining:
            raise error
        if error.code == "overloaded":
            earned = self._budget.take(within=math.nextafter(remaining, 0.0))
            if earned is None:
                raise error
            delay = max(delay, earned)
        return delay
