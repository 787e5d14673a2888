"""Two models compared in landmark space, on the faces that are served: answers wait for none of it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from landmarks.layout import PointLayout
from service.answer import Face, Role
from service.engines.port import EngineError

logger = logging.getLogger(__name__)

AT_ONCE: Final = 2
"""Comparisons made at a time; each keeps its decoded picture until it is done."""
COMPARISON_SECONDS: Final = 10.0
"""How long one may take."""

Dropped = Literal["busy", "failed"]


class Comparison:
    """Gives a share of the faces to the model that did not answer, once the answer is known."""

    def __init__(
        self,
        share: float = 0.0,
        on_distance: Callable[[float], None] = lambda _: None,
        on_dropped: Callable[[Dropped], None] = lambda _: None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`share`: of the requests, in [0, 1]. `on_distance`: told the `distance` of every face. `on_dropped`: told
        why, for every request that is not compared after all. `draw`: a random number in [0, 1).
        """
        self._share = share
        self._on_distance = on_distance
        self._on_dropped = on_dropped
        self._draw = draw
        self._running: set[asyncio.Task[None]] = set()

    def offer(
        self,
        role: Role,
        faces: Sequence[Face],
        ask_other: Callable[[], Awaitable[Sequence[Face]]],
        layout: PointLayout,
    ) -> None:
        """Compares, by chance, and later. `faces`: the answer of the model with this role; `ask_other`: the other's.
        `layout`: of both answers.
        """
        if not faces or self._draw() >= self._share:
            return
        if len(self._running) >= AT_ONCE:
            self._on_dropped("busy")
            return
        # outside of the request's context: its trace and its histograms are not to hold this
        task = Context().run(asyncio.create_task, self._compare(role, faces, ask_other, layout))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _compare(
        self,
        role: Role,
        faces: Sequence[Face],
        ask_other: Callable[[], Awaitable[Sequence[Face]]],
        layout: PointLayout,
    ) -> None:
        try:
            others = await asyncio.wait_for(ask_other(), COMPARISON_SECONDS)
            for face, other in zip(faces, others, strict=True):
                first, second = (face, other) if role == "primary" else (other, face)
                self._on_distance(distance(first.points, second.points, layout))
        except Exception as error:
            expected = isinstance(error, EngineError | asyncio.TimeoutError)
            logger.log(logging.DEBUG if expected else logging.ERROR, "not compared", exc_info=error)
            self._on_dropped("failed")

    async def settled(self) -> None:
        """Returns once those that were begun have ended."""
        await asyncio.gather(*self._running)

    async def close(self) -> None:
        """Gives up those that are being made."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


def distance(primary: NDArray[np.float32], candidate: NDArray[np.float32], layout: PointLayout) -> float:
    """Mean distance of two models' points [P, 2] of one face, over the distance between the outer corners of the eyes
    as the primary sees them. Both in image pixels.
    """
    apart = np.linalg.norm(primary.astype(np.float64) - candidate, axis=1).mean()
    return float(apart / max(layout.inter_ocular(primary), 1e-6))
