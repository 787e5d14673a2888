"""A shadow comparison: the faces of some answers are also given to the other model, and the points are compared."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from landmarks.layout import PointLayout
from service.answer import Region, ServedModel
from service.deadline import Deadline
from service.engines.port import EngineError
from service.images.decode import DecodedImage
from service.landmarker import Landmarker, Prediction
from service.memory import hold_during
from service.request import Options
from service.rollout.canary import Canary

logger = logging.getLogger(__name__)

MAX_CONCURRENT: Final = 2
"""Comparisons that run at a time. Each holds its decoded image in memory until it has ended."""
TIMEOUT: Final = 10.0
"""Seconds that a comparison may take."""

DropReason = Literal["busy", "failed"]


class ShadowComparison:
    """The landmarker that answers as a canary does, and compares its two models after a share of the answers.

    No answer waits for a comparison.
    """

    def __init__(
        self,
        canary: Canary,
        share: float = 0.0,
        on_distance: Callable[[float], None] = lambda _: None,
        on_dropped: Callable[[DropReason], None] = lambda _: None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`share`: of the requests, in [0, 1]. `on_distance`: called with the `distance` of every face. `on_dropped`:
        called with the reason for every request that is not compared after all. `draw`: a random number in [0, 1).
        """
        self._canary = canary
        self._share = share
        self._on_distance = on_distance
        self._on_dropped = on_dropped
        self._draw = draw
        self._running: set[asyncio.Task[None]] = set()

    @property
    def models(self) -> tuple[ServedModel, ...]:
        return self._canary.models

    def model_for(self, name: str | None) -> ServedModel:
        return self._canary.model_for(name)

    async def faces(
        self, image: DecodedImage, regions: Sequence[Region], options: Options, deadline: Deadline
    ) -> Prediction:
        prediction = await self._canary.faces(image, regions, options, deadline)
        self.maybe_run(prediction, image, regions, options)
        return prediction

    def maybe_run(
        self, prediction: Prediction, image: DecodedImage, regions: Sequence[Region], options: Options
    ) -> None:
        """Starts a comparison of `prediction`, by chance, in the background."""
        counterpart = self._canary.counterpart(prediction)
        if counterpart is None or not prediction.faces or self._draw() >= self._share:
            return
        if len(self._running) >= MAX_CONCURRENT:
            self._on_dropped("busy")
            return
        work = self._compare(prediction, counterpart, image, regions, options)
        # in a context of its own: the trace, the histograms and the stopwatch of the request must not include this
        task = Context().run(asyncio.create_task, work)
        hold_during(task)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _compare(
        self,
        prediction: Prediction,
        counterpart: Landmarker,
        image: DecodedImage,
        regions: Sequence[Region],
        options: Options,
    ) -> None:
        try:
            work = counterpart.faces(image, regions, options, Deadline.after(TIMEOUT))
            other = await asyncio.wait_for(work, TIMEOUT)
            primary, candidate = (prediction, other) if prediction.role == "primary" else (other, prediction)
            layout = primary.model.metadata.layout
            for one, two in zip(primary.faces, candidate.faces, strict=True):
                self._on_distance(distance(one.points, two.points, layout))
        except Exception as error:
            is_expected = isinstance(error, EngineError | asyncio.TimeoutError)
            logger.log(logging.DEBUG if is_expected else logging.ERROR, "not compared", exc_info=error)
            self._on_dropped("failed")

    async def settled(self) -> None:
        """Returns once the comparisons that are running have ended."""
        await asyncio.gather(*self._running)

    async def close(self) -> None:
        """Cancels the comparisons that are running."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


def distance(primary: NDArray[np.float32], candidate: NDArray[np.float32], layout: PointLayout) -> float:
    """The mean distance between two models' points [P, 2] of one face, over the primary's inter-ocular distance.

    Both are in image pixels and of the same layout.
    """
    mean = np.linalg.norm(primary.astype(np.float64) - candidate, axis=1).mean()
    return float(mean / max(layout.inter_ocular(primary), 1e-6))
