import asyncio
import time

import pytest

from service.deadline import Deadline, DeadlineExceeded


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that `time.monotonic` gives, to be changed by the test."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_seconds_that_remain_fall_as_time_goes_by(clock: list[float]) -> None:
    deadline = Deadline.after(30.0)
    assert (deadline.ends_at, deadline.remaining()) == (1030.0, 30.0)
    clock[0] = 1029.75
    assert deadline.remaining() == 0.25


@pytest.mark.parametrize("late", [1030.0, 1030.5])
def test_a_deadline_that_has_passed_is_an_error(clock: list[float], late: float) -> None:
    deadline = Deadline.after(30.0)
    clock[0] = late
    with pytest.raises(DeadlineExceeded):
        deadline.remaining()


def test_whoever_handles_timeouts_of_asyncio_handles_a_deadline() -> None:
    assert issubclass(DeadlineExceeded, asyncio.TimeoutError)
