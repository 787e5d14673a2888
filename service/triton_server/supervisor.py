"""Keeps an embedded Triton running: one that ends or hangs is started again, after a pause that grows with failures."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from service.triton_server.process import EmbeddedTriton, EmbeddedTritonError

logger = logging.getLogger(__name__)

LONGEST_PAUSE: Final = 60.0
"""Seconds between two attempts to start, at most."""
STEADY_SECONDS: Final = 60.0
"""One that ran for so long is started again without a long pause."""
LOOK_SECONDS: Final = 1.0
"""How often one that runs is looked at."""


class KeptTriton:
    """One Triton at a time, wherever it listens. Used as the `Addresses` of a TritonEngine."""

    def __init__(
        self, make: Callable[[], EmbeddedTriton], first_pause: float = 0.5, longest_silence: float = 60.0
    ) -> None:
        """`make`: the next server, not started yet. `first_pause`: seconds before it, doubled after each failure.
        `longest_silence`: seconds that one which has answered before may answer nothing; see `heed`.
        """
        self._make = make
        self._first_pause = first_pause
        self._longest_silence = longest_silence
        self._answers: Callable[[], bool] = lambda: True
        self._triton = make()
        self._urls: list[str] = []
        self._keeping: asyncio.Task[None] | None = None

    async def __call__(self) -> Sequence[str]:
        """Where it listens; nowhere while it is being started again."""
        return self._urls

    def heed(self, answers: Callable[[], bool]) -> None:
        """`answers`: whether the server does what it is for. A process of it may hang, and itself be none the wiser."""
        self._answers = answers

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
        """Seconds until it ended, or had to be given up."""
        started = time.monotonic()
        ended = asyncio.create_task(self._triton.wait())
        try:
            if await self._hangs(ended):
                logger.error("Triton has answered nothing for %g s; it is started again", self._longest_silence)
            else:
                logger.error("Triton ended by itself, with status %d; it is started again", ended.result())
        finally:
            ended.cancel()
        self._urls = []
        return time.monotonic() - started

    async def _hangs(self, ended: asyncio.Task[int]) -> bool:
        """Returns once it has ended, or has answered nothing for long although it did before."""
        last = math.inf
        while not ended.done():
            if self._answers():
                last = time.monotonic()
            elif time.monotonic() - last >= self._longest_silence:
                return True
            await asyncio.wait({ended}, timeout=min(LOOK_SECONDS, self._longest_silence))
        return False

    async def _restart(self) -> None:
        self._triton = self._make()
        try:
            self._urls = [await self._triton.start()]
        except EmbeddedTritonError as error:
            logger.error("%s", error)
        else:
            logger.warning("Triton has been started")
