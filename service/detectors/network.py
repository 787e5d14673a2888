"""The model repository's own face detector behind the detector port."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Executor
from typing import Final

import numpy as np

from landmarks.detection import LONGEST, Detections, enlarged, reduced
from landmarks.golden import GOLDEN_TOLERANCE, golden_crop
from service.deadline import Deadline
from service.detectors.backends import Finder, ServedDetector
from service.detectors.port import largest_first
from service.engines.port import EngineError
from service.images.pixels import Pixels

logger = logging.getLogger(__name__)

GOLDEN_SECONDS: Final = 10.0
"""How long the golden crop's face may take to be found."""


class NetworkDetector:
    """The detector of the model repository."""

    def __init__(self, finder: Finder, executor: Executor, longest: int = LONGEST) -> None:
        """`executor`: threads that reduce images to `longest` pixels; no more than that travels."""
        self._finder = finder
        self._executor = executor
        self._longest = longest
        self._proven: ServedDetector | None = None

    async def start(self) -> None:
        await self._finder.identify()

    async def detect(self, image: Pixels, *, deadline: Deadline | None = None) -> Detections:
        if max(image.shape[:2]) > self._longest:
            small = await asyncio.get_running_loop().run_in_executor(self._executor, reduced, image, self._longest)
        else:
            small = image
        found = await self._finder.find(small, deadline)
        return largest_first(enlarged(found, small, image))

    async def ready(self) -> bool:
        """Asks every time, and for the golden crop once for each network that turns out to be served."""
        try:
            served = await self._finder.identify()
            if self._proven != served:
                self._proven = served if await self._finds_golden(served) else None
        except EngineError as error:
            logger.warning("the face detector is not ready: %s", error)
            self._proven = None
        return self._proven is not None

    async def _finds_golden(self, served: ServedDetector) -> bool:
        """Whether the golden crop's face is where the network found it when it was exported."""
        boxes = (await self._finder.find(golden_crop(), Deadline.after(GOLDEN_SECONDS))).boxes
        error = np.abs(boxes[0] - served.metadata.golden_box).max() if len(boxes) else np.inf
        if error > GOLDEN_TOLERANCE:
            logger.error("the golden crop's face is found %.3f pixels off: wrong weights, or a wrong runtime", error)
        return bool(error <= GOLDEN_TOLERANCE)
