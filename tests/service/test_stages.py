"""The stages of a request: what they add to its answer, and where."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context

import pytest

from service.answer import STAGES
from service.observability.request_scope import Telemetry
from service.stages import Stopwatch, run_in_thread, timed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that `time.perf_counter` gives, to be changed by the test."""
    now = [1000.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_a_stage_that_runs_twice_adds_up(clock: list[float]) -> None:
    with Stopwatch() as stopwatch:
        for seconds in (0.5, 0.25):
            with timed("infer"):
                clock[0] += seconds
            clock[0] += 0.125  # between the stages
    milliseconds = stopwatch.milliseconds()
    assert tuple(milliseconds) == STAGES
    assert milliseconds == {"decode": 0, "detect": 0, "crop": 0, "infer": 750, "total": 1000}


def test_times_are_rounded_to_microseconds(clock: list[float]) -> None:
    with Stopwatch() as stopwatch, timed("crop"):
        clock[0] += 0.0012345678
    assert stopwatch.milliseconds()["crop"] == 1.235


def test_a_stage_that_fails_is_timed_too(clock: list[float]) -> None:
    def fail() -> None:
        clock[0] += 2
        raise ZeroDivisionError

    with Stopwatch() as stopwatch:
        with pytest.raises(ZeroDivisionError), timed("crop"):
            fail()
        assert stopwatch.milliseconds()["crop"] == 2000


def test_stages_outside_of_a_stopwatch_add_to_none(clock: list[float]) -> None:
    def one_second() -> None:
        with timed("decode"):
            clock[0] += 1

    one_second()
    with Stopwatch() as stopwatch:
        Context().run(one_second)
    one_second()
    assert stopwatch.milliseconds()["decode"] == 0


@pytest.mark.anyio
async def test_a_stage_in_a_thread_is_one_of_its_request(clock: list[float]) -> None:
    def work() -> str:
        clock[0] += 0.5
        return "done"

    telemetry = Telemetry()
    with ThreadPoolExecutor(1) as executor, telemetry.request("rest", "me", {}), Stopwatch() as stopwatch:
        assert await run_in_thread(executor, "decode", work) == "done"
    assert stopwatch.milliseconds()["decode"] == 500
    assert 'stage="decode"} 1.0' in telemetry.metrics.text().decode()
