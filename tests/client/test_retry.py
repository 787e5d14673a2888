"""When a request is sent again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks_client import ServiceProblem
from landmarks_client.retry import Attempts, RetryBudget


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def failure(retry_after: float | None, code: str = "overloaded") -> ServiceProblem:
    return ServiceProblem(code, "busy", retry_after=retry_after)


def attempts_of(timeout: float, clock: Clock) -> Attempts:
    return Attempts("id", timeout, RetryBudget(clock), clock)


def test_attempts_wait_as_asked_and_stop_at_the_deadline() -> None:
    clock = Clock()
    attempts = attempts_of(3.0, clock)
    assert (attempts.next().request_id, attempts.next().timeout) == ("id", 3.0)
    assert 1.0 <= attempts.delay_after(failure(1.0)) <= 1.25
    clock.now += 1.5
    assert attempts.next().timeout == 1.5
    assert 1.0 <= attempts.delay_after(failure(1.0)) <= 1.25
    clock.now += 1.0
    with pytest.raises(ServiceProblem):  # half a second remains
        attempts.delay_after(failure(1.0))


def test_attempts_wait_longer_every_time() -> None:
    attempts = attempts_of(3.0, Clock())
    delays = [attempts.delay_after(failure(0.0)) for _ in range(4)]
    assert all(base <= delay <= 1.25 * base for base, delay in zip((0.05, 0.1, 0.2, 0.4), delays, strict=True))


def test_a_permanent_failure_is_not_tried_again() -> None:
    with pytest.raises(ServiceProblem):
        attempts_of(3.0, Clock()).delay_after(failure(None))


@given(st.floats(1e-3, 1e3), st.lists(st.floats(0, 1e3)))
def test_no_attempt_begins_after_the_deadline(timeout: float, retries: list[float]) -> None:
    clock = Clock()
    attempts = attempts_of(timeout, clock)
    for retry_after in retries:
        try:
            delay = attempts.delay_after(failure(retry_after))
        except ServiceProblem:
            return
        assert delay >= retry_after
        clock.now += delay
        assert clock.now < 100.0 + timeout
        assert attempts.next().timeout <= max(100.0 + timeout - clock.now, 1e-3)


def test_a_full_queue_is_retried_ten_times_and_then_as_requests_and_time_earn_it() -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    assert [budget.take() for _ in range(11)] == [0.0] * 10 + [None]
    for _ in range(7):  # an eighth of a retry each
        budget.add_request()
    assert budget.take() is None
    budget.add_request()
    assert [budget.take(), budget.take()] == [0.0, None]
    clock.now += 2.0  # half a retry each second
    assert [budget.take(), budget.take()] == [0.0, None]
    clock.now += 1e6
    assert [budget.take() for _ in range(11)] == [0.0] * 10 + [None]


def test_retries_that_wait_for_the_budget_are_earned_one_after_the_other() -> None:
    budget = RetryBudget(Clock())
    for _ in range(10):
        budget.take()
    assert [budget.take(within=5.0) for _ in range(3)] == [2.0, 4.0, None]


def test_an_overloaded_service_is_asked_again_once_the_budget_allows_it() -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    for _ in range(10):
        budget.take()
    attempts = Attempts("id", 30.0, budget, clock)  # which earns an eighth itself
    assert attempts.delay_after(failure(0.0)) == 1.75
    impatient = Attempts("id", 3.0, budget, clock)
    with pytest.raises(ServiceProblem):
        impatient.delay_after(failure(0.0))


def test_a_service_that_is_down_is_asked_again_whatever_the_budget_is() -> None:
    clock = Clock()
    budget = RetryBudget(clock)
    for _ in range(10):
        budget.take()
    assert Attempts("id", 3.0, budget, clock).delay_after(failure(0.0, "unavailable")) <= 0.0625


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 5))))
def test_full_queues_are_never_asked_more_often_than_the_budget_says(steps: list[tuple[float, int]]) -> None:
    """Every request is refused as overloaded, and as many retries are made as are possible."""
    clock = Clock()
    budget = RetryBudget(clock)
    requests = retries = 0
    for seconds, more in steps:
        clock.now += seconds
        for _ in range(more):
            budget.add_request()
        requests += more
        while budget.take() is not None:
            retries += 1
    assert retries <= 10 + 0.125 * requests + 0.5 * (clock.now - 100.0) + 1e-6
