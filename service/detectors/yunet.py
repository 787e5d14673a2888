"""OpenCV's YuNet, behind the detector port."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import cv2
import numpy as np

from landmarks.detection import Detections, enlarged, reduced
from service.deadline import Deadline
from service.detectors.port import largest_first, of_size
from service.images.pixels import Pixels
from service.stages import in_thread

T = TypeVar("T")


class _PerThread(Generic[T]):
    """One value for each thread, because OpenCV's detectors keep state while they run."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._local = threading.local()
        make()  # so that a missing or broken file is an error now rather than at the first request

    def get(self) -> T:
        if not hasattr(self._local, "value"):
            self._local.value = self._make()
        value: T = self._local.value
        return value


class YuNet:
    """The YuNet network through OpenCV. It may be called from several threads at once."""

    MAX_SIDE: Final = 800
    """Pixels. A larger image is reduced to this before the network sees it."""
    MIN_SCORE: Final = 0.6
    MIN_SIDE: Final = 10
    """Pixels; the size of the smallest face in its training data. For an image with a shorter side, OpenCV's result
    depends on what its memory held before."""

    def __init__(self, path: Path) -> None:
        """`path`: the ONNX file. Raises ValueError when there is none or it is not YuNet's."""
        if not path.is_file():
            raise ValueError(f"no YuNet file at {path}")
        self._network: _PerThread[Any] = _PerThread(
            lambda: cv2.FaceDetectorYN.create(str(path), "", (320, 320), self.MIN_SCORE)
        )

    def __call__(self, image: Pixels) -> Detections:
        """The faces of an image, the largest first."""
        small = reduced(image, self.MAX_SIDE)
        if min(small.shape[:2]) < self.MIN_SIDE:
            return Detections.none()
        network = self._network.get()
        network.setInputSize((small.shape[1], small.shape[0]))
        _, rows = network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        found = np.zeros((0, 15)) if rows is None else np.asarray(rows, np.float64)
        found = found[np.isfinite(found).all(axis=1) & (found[:, 2:4] > 0).all(axis=1)]
        boxes = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:4]], axis=1)
        return largest_first(enlarged(Detections(boxes, np.clip(found[:, 14], 0, 1)), small, image))


class ThreadedDetector:
    """Runs a function that detects faces in the threads of an executor."""

    def __init__(self, detect: Callable[[Pixels], Detections], executor: Executor) -> None:
        self._detect = detect
        self._executor = executor

    async def start(self) -> None:
        """There is nothing to start."""

    async def detect(
        self,
        image: Pixels,
        *,
        min_face: float | None = None,
        deadline: Deadline | None = None,  # noqa: ARG002 - a thread cannot be stopped; the pipeline ends the wait
    ) -> Detections:
        return of_size(await in_thread(self._executor, self._detect, image), min_face)

    async def ready(self) -> bool:
        return True
