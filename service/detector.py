"""The face detector port, and its implementations on OpenCV.

A detector's boxes hold the forehead and the chin, as the boxes that the network was trained with do.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

import cv2
import numpy as np
from cv2 import data  # type: ignore[attr-defined, unused-ignore]
from numpy.typing import NDArray

from service.images import Image

DETECTION_SIZE: Final = 800
"""Longest side in pixels of what detectors look at; a larger image is reduced first."""

Boxes = NDArray[np.float64]
"""Boxes [N, 4], x1 y1 x2 y2 in pixels, (0, 0) being the centre of the top-left pixel."""


class Detections(NamedTuple):
    boxes: Boxes
    """[N, 4] in image pixels; may reach beyond the image."""
    scores: NDArray[np.float64]
    """[N] in [0, 1]."""


class Detector(Protocol):
    """Finds faces. Called from several threads at once."""

    def detect(self, image: Image) -> Detections:
        """The faces of an RGB image, the largest first."""


T = TypeVar("T")


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


# ---------------------------------------------------------------- Haar cascade

HAAR_TO_FACE: Final = (0.0, 0.012, 0.835, 1.107)
"""The box of a face around the cascade's square: shift of the centre right and down, width and height, in sides.

Medians over the faces of 500 training photographs (300-W) that both the cascade and YuNet found: the median overlap
(IoU) of the two boxes rises from 0.73 to 0.80, and from 0.74 to 0.83 on 200 photographs that were not fitted.
"""


class HaarDetector:
    """OpenCV's bundled frontal-face cascade: no file to fetch, upright frontal faces only."""

    MIN_SCORE = 0.4

    def __init__(self) -> None:
        path = Path(data.haarcascades) / "haarcascade_frontalface_default.xml"
        self._cascade = _PerThread(lambda: cv2.CascadeClassifier(str(path)))

    def detect(self, image: Image) -> Detections:
        small = reduce(image)
        grey = cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
        smallest = max(20, max(grey.shape) // 20)
        squares, _, weights = self._cascade.get().detectMultiScale3(
            grey, 1.1, 4, minSize=(smallest, smallest), outputRejectLevels=True
        )
        # true faces weigh 5 at the median and 2 at the fifth percentile, false ones 2.5 at the median
        scores = 1 / (1 + np.exp(2.0 - np.asarray(weights, np.float64).reshape(-1)))
        boxes = haar_to_face(np.asarray(squares, np.float64).reshape(-1, 4))
        kept = scores >= self.MIN_SCORE
        return largest_first(enlarge(boxes[kept], small, image), scores[kept])


def haar_to_face(squares: NDArray[np.float64]) -> Boxes:
    """The cascade's squares [N, 4] (left, top, width, height in whole pixels) -> boxes of faces [N, 4]."""
    right, down, width, height = HAAR_TO_FACE
    left, top, side = squares[:, 0], squares[:, 1], squares[:, 2]
    # a square of n pixels from pixel 0 on is centred on pixel (n - 1) / 2
    x, y = left + (side - 1) / 2 + right * side, top + (side - 1) / 2 + down * side
    return np.stack([x - width * side / 2, y - height * side / 2, x + width * side / 2, y + height * side / 2], axis=1)


# ---------------------------------------------------------------- YuNet


class YuNetDetector:
    """The YuNet network through OpenCV: profiles and small faces too, four times as fast as the cascade."""

    MIN_SCORE = 0.6

    def __init__(self, path: Path) -> None:
        """`path`: the ONNX file. Raises ValueError when it is not there or is not YuNet."""
        if not path.is_file():
            raise ValueError(f"no YuNet file at {path}")
        self._network: _PerThread[Any] = _PerThread(
            lambda: cv2.FaceDetectorYN.create(str(path), "", (320, 320), self.MIN_SCORE)
        )

    def detect(self, image: Image) -> Detections:
        small = reduce(image)
        network = self._network.get()
        network.setInputSize((small.shape[1], small.shape[0]))
        _, rows = network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        found = np.zeros((0, 15)) if rows is None else np.asarray(rows, np.float64)
        found = found[np.isfinite(found).all(axis=1) & (found[:, 2:4] > 0).all(axis=1)]
        boxes = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:4]], axis=1)
        return largest_first(enlarge(boxes, small, image), np.clip(found[:, 14], 0, 1))


# ---------------------------------------------------------------- shared


def reduce(image: Image, longest: int = DETECTION_SIZE) -> Image:
    """The image, averaged down until its longest side is at most `longest` pixels."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def enlarge(boxes: Boxes, small: Image, image: Image) -> Boxes:
    """Boxes in pixels of the reduced image -> in pixels of the image: pixel edges stay pixel edges."""
    x, y = image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]
    scaled: Boxes = (boxes + 0.5) * [x, y, x, y] - 0.5
    return scaled


def largest_first(boxes: Boxes, scores: NDArray[np.float64]) -> Detections:
    """Sorted by area; equal areas by score, then from left to right, so that the order is always the same."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.lexsort((boxes[:, 1], boxes[:, 0], -scores, -area))
    return Detections(boxes[order], scores[order])


def overlaps(box: NDArray[np.float64], width: int, height: int) -> bool:
    """Whether a box shares area with an image of this size."""
    x1, y1, x2, y2 = (float(v) for v in box)
    return x1 < width - 0.5 and y1 < height - 0.5 and x2 > -0.5 and y2 > -0.5 and math.isfinite(x1 + y1 + x2 + y2)
