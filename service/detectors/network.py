"""The model repository's face detector, behind the detector port."""

from __future__ import annotations

import logging
from concurrent.futures import Executor
from typing import Final

from landmarks.detection import Detections, enlarged, reduced
from landmarks.golden import golden_crop
from landmarks.tensors import MAX_DETECTION_SIDE
from service.deadline import Deadline
from service.detectors.backends import DetectorBackend, ServedDetector, check_golden_face
from service.detectors.port import largest_first
from service.engines.port import EngineError
from service.images.pixels import Pixels
from service.stages import in_thread

logger = logging.getLogger(__name__)

GOLDEN_TIMEOUT: Final = 10.0
"""Seconds in which the face of the golden crop must be found."""


class NetworkDetector:
    """Detects faces by a network that a backend runs."""

    def __init__(self, backend: DetectorBackend, executor: Executor, max_side: int = MAX_DETECTION_SIDE) -> None:
        """`max_side`: larger images are reduced to this many pixels along their longer side before they are sent to
        the backend. `executor`: threads that reduce them.
        """
        self._backend = backend
        self._executor = executor
        self._max_side = max_side
        self._verified: ServedDetector | None = None

    async def start(self) -> None:
        await self._backend.identify()

    async def detect(self, image: Pixels, *, deadline: Deadline | None = None) -> Detections:
        small = image
        if max(image.shape[:2]) > self._max_side:
            small = await in_thread(self._executor, reduced, image, self._max_side)
        found = await self._backend.detect(small, deadline)
        return largest_first(enlarged(found, small, image))

    async def ready(self) -> bool:
        """Identifies the served network at every call, and verifies it by the golden crop once it is another one."""
        try:
            served = await self._backend.identify()
            if self._verified != served:
                found = await self._backend.detect(golden_crop(), Deadline.after(GOLDEN_TIMEOUT))
                check_golden_face(served.metadata, found)
                self._verified = served
        except EngineError as error:
            logger.warning("the face detector is not ready: %s", error)
            self._verified = None
        return self._verified is not None
