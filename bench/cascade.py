"""OpenCV's bundled frontal-face cascade: a reference that every installation of OpenCV contains."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from cv2 import data  # type: ignore[attr-defined, unused-ignore]
from numpy.typing import NDArray

from landmarks.detection import Detections, RgbImage, enlarged, reduced

SQUARE_TO_FACE: Final = (0.0, 0.012, 0.835, 1.107)
"""The face's box relative to the cascade's square: shift of the centre right and down, width and height, all in units
of the square's side.

Medians over the faces of 500 training images (300-W) that both the cascade and YuNet found. The median IoU of the two
boxes rises from 0.73 to 0.80, and from 0.74 to 0.83 on 200 images that were not fitted.
"""


class Cascade:
    """Detects upright frontal faces. Not safe for use by several threads."""

    MAX_SIDE: Final = 800
    """Longest side in pixels that faces are searched at; a larger image is reduced first."""
    MIN_SCORE: Final = 0.4

    def __init__(self) -> None:
        self._cascade = cv2.CascadeClassifier(str(Path(data.haarcascades) / "haarcascade_frontalface_default.xml"))

    def __call__(self, image: RgbImage) -> Detections:
        """The faces of an RGB image, uint8 [H, W, 3]."""
        small = reduced(image, self.MAX_SIDE)
        grey = cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
        smallest = max(20, max(grey.shape) // 20)
        squares, _, weights = self._cascade.detectMultiScale3(
            grey, 1.1, 4, minSize=(smallest, smallest), outputRejectLevels=True
        )
        # the weight of a true face is 5 at the median and 2 at the fifth percentile; of a false one, 2.5 at the median
        scores = 1 / (1 + np.exp(2.0 - np.asarray(weights, np.float64).reshape(-1)))
        boxes = square_to_face(np.asarray(squares, np.float64).reshape(-1, 4))
        kept = scores >= self.MIN_SCORE
        return enlarged(Detections(boxes[kept], scores[kept]), small, image)


def square_to_face(squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cascade's squares [N, 4] (left, top, width, height in whole pixels) -> boxes of faces [N, 4] xyxy."""
    right, down, width, height = SQUARE_TO_FACE
    left, top, side = squares[:, 0], squares[:, 1], squares[:, 2]
    # a square of n pixels from pixel 0 on is centred on pixel (n - 1) / 2
    x, y = left + (side - 1) / 2 + right * side, top + (side - 1) / 2 + down * side
    return np.stack([x - width * side / 2, y - height * side / 2, x + width * side / 2, y + height * side / 2], axis=1)
