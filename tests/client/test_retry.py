"""When a request is sent again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks_client import ServiceProblem
from landmarks_client.retry import Attempts


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def failure(retry_after: float | None) -> ServiceProblem:
    return ServiceProblem("overloaded", "busy", retry_after=retry_after)


def test_attempts_wait_as_asked_and_stop_at_the_deadline() -> None:
    clock = Clock()
    attempts = Attempts("id", 3.0, clock)
    assert (attempts.next().request_id, attempts.next().timeout) == ("id", 3.0)
    assert 1.0 <= attempts.delay_after(failure(1.0)) <= 1.25
    clock.now += 1.5
    assert attempts.next().timeout == 1.5
    assert 1.0 <= attempts.delay_after(failure(1.0)) <= 1.25
    clock.now += 1.0
    with pytest.raises(ServiceProblem):  # half a second remains
        attempts.delay_after(failure(1.0))


def test_attempts_wait_longer_every_time() -> None:
    attempts = Attempts("id", 3.0, Clock())
    delays = [attempts.delay_after(failure(0.0)) for _ in range(4)]
    assert all(base <= delay <= 1.25 * base for base, delay in zip((0.05, 0.1, 0.2, 0.4), delays, strict=True))


def test_a_permanent_failure_is_not_tried_again() -> None:
    with pytest.raises(ServiceProblem):
        Attempts("id", 3.0, Clock()).delay_after(failure(None))


@given(st.floats(1e-3, 1e3), st.lists(st.floats(0, 1e3)))
def test_no_attempt_begins_after_the_deadline(timeout: float, retries: list[float]) -> None:
    clock = Clock()
    attempts = Attempts("id", timeout, clock)
    for retry_after in retries:
        try:
            delay = attempts.delay_after(failure(retry_after))
        except ServiceProblem:
            return
        assert delay >= retry_after
        clock.now += delay
        assert clock.now < 100.0 + timeout
        assert attempts.next().timeout <= max(100.0 + timeout - clock.now, 1e-3)
