"""Pictures whose pixels are not square, as anamorphic plates have them: stretched to square pixels, answers taken back.

The networks know faces of square pixels alone: of one squeezed by two they find most points wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from landmarks.layout import PointLayout
from service.answer import Face, Floats
from service.images.pixels import Pixels

MIN_PIXEL_ASPECT: Final = 0.25
MAX_PIXEL_ASPECT: Final = 4.0
"""Formats in use lie between 0.5 and 2."""


@dataclass(frozen=True)
class Stretch:
    """Factors by which an image is enlarged until its pixels are square; one of them is 1."""

    x: float
    y: float

    @classmethod
    def of(cls, pixel_aspect: float) -> Stretch:
        """For pixels that are `pixel_aspect` times as wide as they are high."""
        return cls(max(1.0, pixel_aspect), max(1.0, 1 / pixel_aspect))

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of an image once it is stretched."""
        return max(1, round(width * self.x)), max(1, round(height * self.y))

    def pixels(self, stored: Pixels) -> Pixels:
        """The image with square pixels; the same array where they are square."""
        if self == SQUARE:
            return stored
        # given as factors, because a size in whole pixels would round them, and the points with them
        stretched = cv2.resize(stored, None, fx=self.x, fy=self.y, interpolation=cv2.INTER_LINEAR)
        return np.asarray(stretched, np.uint8)

    def box(self, box: Floats) -> Floats:
        """A box [4] of the stored image, in the stretched one."""
        return (
            box
            if self == SQUARE
            else np.asarray((box.astype(np.float64) + 0.5) * self._factors[[0, 1, 0, 1]] - 0.5, np.float32)
        )

    def faces(
        self, faces: tuple[Face, ...], layout: PointLayout, given: Sequence[tuple[float, float, float, float]]
    ) -> tuple[Face, ...]:
        """Faces of the stretched image, in the stored one. `given`: the boxes of the request, if it gave any."""
        if self == SQUARE:
            return faces
        boxes = [np.array(box, np.float32) for box in given] or [
            self._back(face.box.reshape(2, 2)).ravel() for face in faces
        ]
        return tuple(self._face(face, layout, box) for face, box in zip(faces, boxes, strict=True))

    def _face(self, face: Face, layout: PointLayout, box: Floats) -> Face:
        points = self._back(face.points)
        return replace(
            face,
            box=box,
            inter_ocular=np.float32(layout.inter_ocular(points.astype(np.float64))),
            points=points,
            covariances=(face.covariances / [self.x**2, self.x * self.y, self.y**2]).astype(np.float32),
        )

    def _back(self, points: Floats) -> Floats:
        """Points [N, 2] of the stretched image, in the stored one. (0, 0) is the center of a pixel in both."""
        return np.asarray((points.astype(np.float64) + 0.5) / self._factors - 0.5, np.float32)

    @property
    def _factors(self) -> NDArray[np.float64]:
        return np.array([self.x, self.y])


SQUARE: Final = Stretch(1.0, 1.0)
