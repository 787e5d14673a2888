"""Keeps an embedded Triton running: one that exits or hangs is restarted, with exponential backoff."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from service.triton_server.process import EmbeddedTriton, EmbeddedTritonError

logger = logging.getLogger(__name__)

MAX_BACKOFF: Final = 60.0
"""Seconds between two attempts to start, at most."""
BACKOFF_RESET_SECONDS: Final = 60.0
"""A server that ran for at least so long is restarted after the initial backoff again."""
HANG_TIMEOUT: Final = 30.0
"""Seconds after which a server is replaced that has answered correctly before, and no longer does. The golden crop is
sent every 10 seconds and may take 10, so that a model which stops answering costs at most 50 seconds and a start."""
FIRST_ANSWER_TIMEOUT: Final = 300.0
"""Seconds that a server has for its first correct answer, after it has loaded its models."""
CHECK_INTERVAL: Final = 1.0
"""Seconds between two looks at the health probe of a running server."""


class TritonSupervisor:
    """One running Triton at a time. It is the resolver of a TritonEngine: calling it returns the current address."""

    def __init__(
        self,
        make: Callable[[], EmbeddedTriton],
        initial_backoff: float = 0.5,
        hang_timeout: float = HANG_TIMEOUT,
        on_restart: Callable[[], None] = lambda: None,
    ) -> None:
        """`make`: returns the next server, not started yet. `initial_backoff`: seconds before it is started, doubled
        after each failure. `hang_timeout`: seconds without an answer after which a server that has answered before
        counts as hung; see `set_health_probe`. `on_restart`: called whenever a server has exited by itself or hung.
        """
        self._make = make
        self._initial_backoff = initial_backoff
        self._hang_timeout = hang_timeout
        self._on_restart = on_restart
        self._is_healthy: Callable[[], bool] = lambda: True
        self._triton = make()
        self._addresses: list[str] = []
        self._task: asyncio.Task[None] | None = None

    async def __call__(self) -> Sequence[str]:
        """The address that it listens on; none while it is being restarted."""
        return self._addresses

    def set_health_probe(self, is_healthy: Callable[[], bool]) -> None:
        """`is_healthy`: whether the server answers now. A server may hang while its process goes on running."""
        self._is_healthy = is_healthy

    async def start(self) -> None:
        """Starts the first server. Raises EmbeddedTritonError when that fails."""
        self._addresses = [await self._triton.start()]
        self._task = asyncio.create_task(self._supervise())

    def start_in_background(self) -> None:
        """Starts the first server without waiting for it, and retries while that fails."""
        self._task = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        """Stops the server for good. Harmless when it is not running."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._addresses = []
        await self._triton.stop()

    async def _supervise(self) -> None:
        failures = 0
        while True:
            if self._addresses and await self._run_time() >= BACKOFF_RESET_SECONDS:
                failures = 0
            while not self._addresses:
                await self._triton.stop()  # removes its files
                await asyncio.sleep(min(MAX_BACKOFF, self._initial_backoff * 2 ** min(failures, 16)))
                failures += 1
                await self._restart()

    async def _run_time(self) -> float:
        """Waits until the server exits or hangs. Returns the seconds for which it ran."""
        started = time.monotonic()
        exited = asyncio.create_task(self._triton.wait())
        try:
            if await self._hangs(exited):
                logger.error("Triton has answered nothing for %g s; it is restarted", self._hang_timeout)
            else:
                logger.error("Triton exited by itself, with status %d; it is restarted", exited.result())
        finally:
            exited.cancel()
        self._on_restart()
        self._addresses = []
        return time.monotonic() - started

    async def _hangs(self, exited: asyncio.Task[int]) -> bool:
        """Waits until the server has exited (False), or has not answered for `hang_timeout` seconds (True)."""
        last_answer = time.monotonic() + FIRST_ANSWER_TIMEOUT - self._hang_timeout
        while not exited.done():
            if self._is_healthy():
                last_answer = time.monotonic()
            elif time.monotonic() - last_answer >= self._hang_timeout:
                return True
            await asyncio.wait({exited}, timeout=min(CHECK_INTERVAL, self._hang_timeout))
        return False

    async def _restart(self) -> None:
        self._triton = self._make()
        try:
            self._addresses = [await self._triton.start()]
        except EmbeddedTritonError as error:
            logger.error("%s", error)
        else:
            logger.warning("Triton has been started")
