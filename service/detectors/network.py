"""The model repository's face detector, behind the detector port."""

from __future__ import annotations

import logging
from concurrent.futures import Executor
from typing import Final

from landmarks.detection import Detections
from landmarks.golden import golden_crop
from landmarks.search import Search
from landmarks.tensors import MAX_DETECTION_SIDE
from service.deadline import Deadline
from service.detectors.backends import DetectorBackend, ServedDetector, check_golden_face
from service.detectors.port import largest_first, of_size
from service.engines.port import EngineError
from service.images.pixels import Pixels
from service.stages import in_thread

logger = logging.getLogger(__name__)

GOLDEN_TIMEOUT: Final = 10.0
"""Seconds in which the face of the golden crop must be found."""


class NetworkDetector:
    """Detects faces by a network that a backend runs."""

    def __init__(self, backend: DetectorBackend, executor: Executor, max_side: int = MAX_DETECTION_SIDE) -> None:
        """`max_side`: the most pixels along the longer side of an image that is sent to the backend.

        `executor`: threads that reduce images.
        """
        self._backend = backend
        self._executor = executor
        self._max_side = max_side
        self._served: ServedDetector | None = None
        self._verified: ServedDetector | None = None

    async def start(self) -> None:
        await self._identify()

    async def _identify(self) -> ServedDetector:
        self._served = await self._backend.identify()
        return self._served

    async def detect(
        self, image: Pixels, *, min_face: float | None = None, deadline: Deadline | None = None
    ) -> Detections:
        spec = (self._served or await self._identify()).metadata.spec
        search = Search(image, spec, self._max_side, min_face)
        while (part := await in_thread(self._executor, search.next_part)) is not None:
            search.add(await self._backend.detect(part, deadline))
        return largest_first(of_size(search.faces(), min_face))

    async def ready(self) -> bool:
        """Identifies the served network at every call, and verifies it by the golden crop once it is another one."""
        try:
            served = await self._identify()
            if self._verified != served:
                found = await self._backend.detect(golden_crop(), Deadline.after(GOLDEN_TIMEOUT))
                check_golden_face(served.metadata, found)
                self._verified = served
        except EngineError as error:
            logger.warning("the face detector is not ready: %s", error)
            self._verified = None
        return self._verified is not None
