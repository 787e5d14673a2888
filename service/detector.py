"""The face detector port, and its implementations: the model repository's own network, and OpenCV's YuNet.

A detector's boxes hold the forehead and the chin, as the boxes that the landmark network was trained with do.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from landmarks.detection import LONGEST, Detections, enlarged, reduced
from landmarks.golden import GOLDEN_TOLERANCE, golden_crop
from service.finders import Finder, ServedDetector
from service.images import Image
from service.inference import EngineError

logger = logging.getLogger(__name__)

GOLDEN_SECONDS: Final = 10.0
"""How long the golden crop's face may take to be found."""

T = TypeVar("T")


class Detector(Protocol):
    """Finds faces. Started once the engine is; calls run side by side."""

    async def start(self) -> None:
        """Connects or loads; may be tried again after an error. Raises EngineError."""

    async def detect(self, image: Image, *, timeout: float | None = None) -> Detections:
        """The faces of an RGB image, the largest first; boxes may reach beyond it.

        `timeout`: the caller's deadline in seconds from now. Raises EngineError.
        """

    async def ready(self) -> bool:
        """Whether faces can be found now; never raises."""


# ---------------------------------------------------------------- the repository's own


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

    async def detect(self, image: Image, *, timeout: float | None = None) -> Detections:
        clock = asyncio.get_running_loop()
        deadline = None if timeout is None else clock.time() + timeout
        if max(image.shape[:2]) > self._longest:
            small = await clock.run_in_executor(self._executor, reduced, image, self._longest)
        else:
            small = image
        found = await self._finder.find(small, None if deadline is None else deadline - clock.time())
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
        boxes = (await self._finder.find(golden_crop(), GOLDEN_SECONDS)).boxes
        error = np.abs(boxes[0] - served.metadata.golden_box).max() if len(boxes) else np.inf
        if error > GOLDEN_TOLERANCE:
            logger.error("the golden crop's face is found %.3f pixels off: wrong weights, or a wrong runtime", error)
        return bool(error <= GOLDEN_TOLERANCE)


# ---------------------------------------------------------------- YuNet


class _PerThread(Generic[T]):
    """One value for each thread: OpenCV's detectors keep state while they run."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._local = threading.local()
        make()  # a missing or broken file is an error now, not at the first request

    def get(self) -> T:
        if not hasattr(self._local, "value"):
            self._local.value = self._make()
        value: T = self._local.value
        return value


class YuNet:
    """The YuNet network through OpenCV. Called from several threads at once."""

    LONGEST: Final = 800
    """Longest side in pixels of what it looks at; a larger image is reduced first."""
    MIN_SCORE: Final = 0.6
    SMALLEST: Final = 10
    """Pixels; the smallest face that it was trained on. OpenCV's answer to a picture with a shorter side depends on
    what its memory held before."""

    def __init__(self, path: Path) -> None:
        """`path`: the ONNX file. Raises ValueError when it is not there or is not YuNet."""
        if not path.is_file():
            raise ValueError(f"no YuNet file at {path}")
        self._network: _PerThread[Any] = _PerThread(
            lambda: cv2.FaceDetectorYN.create(str(path), "", (320, 320), self.MIN_SCORE)
        )

    def __call__(self, image: Image) -> Detections:
        """The faces of an RGB image, the largest first."""
        small = reduced(image, self.LONGEST)
        if min(small.shape[:2]) < self.SMALLEST:
            return Detections(np.zeros((0, 4)), np.zeros(0))
        network = self._network.get()
        network.setInputSize((small.shape[1], small.shape[0]))
        _, rows = network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        found = np.zeros((0, 15)) if rows is None else np.asarray(rows, np.float64)
        found = found[np.isfinite(found).all(axis=1) & (found[:, 2:4] > 0).all(axis=1)]
        boxes = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:4]], axis=1)
        return largest_first(enlarged(Detections(boxes, np.clip(found[:, 14], 0, 1)), small, image))


class ThreadedDetector:
    """A function that finds faces, in the threads of an executor."""

    def __init__(self, find: Callable[[Image], Detections], executor: Executor) -> None:
        self._find = find
        self._executor = executor

    async def start(self) -> None:
        """There is nothing to start."""

    async def detect(
        self,
        image: Image,
        *,
        timeout: float | None = None,  # noqa: ARG002 (a thread cannot be stopped; the caller's own limit ends the wait)
    ) -> Detections:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._find, image)

    async def ready(self) -> bool:
        return True


# ---------------------------------------------------------------- shared


def largest_first(found: Detections) -> Detections:
    """Sorted by area; equal areas by score, then from left to right, so that the order is always the same."""
    boxes, scores = found
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.lexsort((boxes[:, 1], boxes[:, 0], -scores, -area))
    return Detections(boxes[order], scores[order])


def overlaps(box: NDArray[np.float64], width: int, height: int) -> bool:
    """Whether a box shares area with an image of this size."""
    x1, y1, x2, y2 = (float(v) for v in box)
    return x1 < width - 0.5 and y1 < height - 0.5 and x2 > -0.5 and y2 > -0.5 and math.isfinite(x1 + y1 + x2 + y2)
