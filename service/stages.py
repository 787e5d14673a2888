"""The stages of a request: timed for its answer, and for metrics and traces by `service.observability`.

A stage finds the stopwatch of its answer through a context variable, so that no signature on the way has to carry it.
Where there is none, as in a shadow comparison, the stage adds to no answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import ContextVar, Token, copy_context
from typing import Any, Final, TypeVar

from service.answer import STAGES
from service.memory import hold_during
from service.observability.request_scope import stage

T = TypeVar("T")

INLINE_FACES: Final = 32
"""Whose conversion and encoding take a few milliseconds."""


class Stopwatch:
    """Adds up the time of every stage that runs within `with Stopwatch() as stopwatch:`."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._seconds = dict.fromkeys(STAGES, 0.0)

    def __enter__(self) -> Stopwatch:
        self._token: Token[Stopwatch | None] = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)

    def add(self, name: str, seconds: float) -> None:
        """Adds to a stage of STAGES. One that runs several times, as after a fallback, adds up."""
        self._seconds[name] += seconds

    def milliseconds(self) -> dict[str, float]:
        """By stage, rounded to microseconds; "total" is the time since the stopwatch was made."""
        self._seconds["total"] = time.perf_counter() - self._start
        return {name: round(1e3 * seconds, 3) for name, seconds in self._seconds.items()}


_current: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Times a stage of STAGES."""
    stopwatch, start = _current.get(), time.perf_counter()
    try:
        with stage(name):
            yield
    finally:
        if stopwatch is not None:
            stopwatch.add(name, time.perf_counter() - start)


async def run_in_thread(executor: Executor, name: str, work: Callable[[], T]) -> T:
    """Runs a stage in a thread, without the time that it waits for one.

    The thread gets the context of the request, by which log lines, spans and the stopwatch are found.
    """

    def run() -> T:
        with timed(name):
            return work()

    return await in_thread(executor, copy_context().run, run)


async def with_faces(count: int, work: Callable[[], T]) -> T:
    """The result of work on so many faces: in a thread where it would hold up the event loop."""
    return await asyncio.to_thread(work) if count > INLINE_FACES else work()


async def in_thread(executor: Executor, work: Callable[..., T], *values: Any) -> T:
    """Runs work in a thread. What the request holds for its image it holds until the thread has ended."""
    future = executor.submit(work, *values)
    hold_during(future)
    return await asyncio.wrap_future(future)
