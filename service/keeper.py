"""Keeps an embedded Triton running: one that ends is started again, after a pause that grows while that fails."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from service.embedded import EmbeddedTriton, EmbeddedTritonError

logger = logging.getLogger(__name__)

LONGEST_PAUSE: Final = 60.0
"""Seconds between two attempts to start, at most."""
STEADY_SECONDS: Final = 60.0
"""One that ran for so long is started again without a long pause."""


class KeptTriton:
    """One Triton at a time, wherever it listens. Used as the `Addresses` of a TritonEngine."""

    def __init__(self, make: Callable[[], EmbeddedTriton], first_pause: float = 0.5) -> None:
        """`make`: the next server, not started yet. `first_pause`: seconds before it, doubled after each failure."""
        self._make = make
        self._first_pause = first_pause
        self._triton = make()
        self._urls: list[str] = []
        self._keeping: asyncio.Task[None] | None = None

    async def __call__(self) -> Sequence[str]:
        """Where it listens; nowhere while it is being started again."""
        return self._urls

    async def start(self) -> None:
        """Raises EmbeddedTritonError when the first one cannot be started."""
        self._urls = [await self._triton.start()]
        self._keeping = asyncio.create_task(self._keep())

    def begin(self) -> None:
        """Starts the first one in the background, and goes on trying while it cannot be started."""
        self._keeping = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Ends it for good; harmless when it is not running."""
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
        self._urls = []
        await self._triton.stop()

    async def _keep(self) -> None:
        failures = 0
        while True:
            if self._urls and await self._lasted() >= STEADY_SECONDS:
                failures = 0
            while not self._urls:
                await self._triton.stop()  # its files
                await asyncio.sleep(min(LONGEST_PAUSE, self._first_pause * 2 ** min(failures, 16)))
                failures += 1
                await self._restart()

    async def _lasted(self) -> float:
        """Seconds until it ended."""
        started = time.monotonic()
        status = await self._triton.wait()
        self._urls = []
        logger.error("Triton ended by itself, with status %d; it is started again", status)
        return time.monotonic() - started

    async def _restart(self) -> None:
        self._triton = self._make()
        try:
            self._urls = [await self._triton.start()]
        except EmbeddedTritonError as error:
            logger.error("%s", error)
        else:
            logger.warning("Triton has been started")
