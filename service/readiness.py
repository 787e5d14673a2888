"""Whether the service is ready: what `/readyz`, the gRPC health service and orchestrators ask."""

from __future__ import annotations

import asyncio
import math
import time

from service.detectors.port import Detector
from service.engines.port import Engine


class Readiness:
    """Whether engine and detector are ready. However many probes come, the two are asked once in `max_age` seconds."""

    def __init__(self, engine: Engine, detector: Detector, max_age: float = 1.0) -> None:
        self._engine = engine
        self._detector = detector
        self._max_age = max_age
        self._checked_at = -math.inf
        self._is_ready = False
        self._is_stopping = False
        self._lock = asyncio.Lock()

    async def check(self) -> bool:
        async with self._lock:
            if time.monotonic() - self._checked_at >= self._max_age:
                self._is_ready = await self._engine.ready() and await self._detector.ready()
                self._checked_at = time.monotonic()
        return self._is_ready and not self._is_stopping

    @property
    def stopping(self) -> bool:
        return self._is_stopping

    def stop(self) -> None:
        """Not ready from now on: the service is shutting down."""
        self._is_stopping = True
