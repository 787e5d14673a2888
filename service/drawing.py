"""Landmarks drawn onto the image: the outlines of each group in its own colour, and the points as dots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from landmarks.layout import PointLayout
from service.images.pixels import Pixels

Colour = tuple[int, int, int]

COLOURS: Final[Mapping[str, Colour]] = {
    "jaw": (92, 200, 255),
    "right_brow": (255, 190, 70),
    "left_brow": (255, 190, 70),
    "nose": (170, 235, 110),
    "right_eye": (255, 120, 210),
    "left_eye": (255, 120, 210),
    "outer_lips": (255, 95, 85),
    "inner_lips": (255, 165, 150),
    "pupils": (255, 255, 255),
}
"""RGB of each group of `landmarks.layout.WFLW98`."""
OTHER_COLOUR: Final[Colour] = (190, 170, 255)
"""RGB of the groups of other layouts."""

LEGIBLE_FACE: Final = 560
"""An image whose largest face is smaller than this many pixels is enlarged, at most MAX_ENLARGEMENT times."""
MAX_ENLARGEMENT: Final = 3
MAX_ENLARGED_SIDE: Final = 3000
"""Pixels along a side beyond which no image is enlarged."""
_SHIFT: Final = 6  # OpenCV draws at 1/64 of a pixel


def draw(image: Pixels, faces: Sequence[NDArray[Any]], layout: PointLayout) -> Pixels:
    """A copy of the RGB image with the faces' points (each [P, 2], image pixels) drawn; enlarged if they are small.

    Points of another number than the layout's are drawn as dots alone: a remote service may serve a model of a layout
    that is not known here.
    """
    zoom = _zoom(image, faces)
    canvas = _enlarged(image, zoom)
    for points in faces:
        # pixel centres: new = (old + 0.5) * zoom - 0.5
        _draw_face(canvas, layout, (np.asarray(points, np.float64) + 0.5) * zoom - 0.5)
    return canvas


def _zoom(image: Pixels, faces: Sequence[NDArray[Any]]) -> int:
    largest = max((float(np.ptp(points, axis=0).max()) for points in faces), default=LEGIBLE_FACE)
    wanted = math.ceil(LEGIBLE_FACE / max(largest, 1.0))
    return max(1, min(MAX_ENLARGEMENT, wanted, MAX_ENLARGED_SIDE // max(image.shape[:2])))


def _enlarged(image: Pixels, zoom: int) -> Pixels:
    if zoom == 1:
        return image.copy()
    return np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC), np.uint8)


def _draw_face(canvas: Pixels, layout: PointLayout, points: NDArray[np.float64]) -> None:
    size = min(float(np.ptp(points, axis=0).max()), 2.0 * max(canvas.shape))
    width, radius = max(1, round(size / 260)), max(1.2, size / 220)
    if len(points) != layout.points:
        for point in points:
            _draw_dot(canvas, point, OTHER_COLOUR, radius)
        return
    for group, lines in layout.outlines.items():
        for line in lines:
            _draw_line(canvas, points[list(line)], COLOURS.get(group, OTHER_COLOUR), width)
    for group, members in layout.groups.items():
        for index in members:
            _draw_dot(canvas, points[index], COLOURS.get(group, OTHER_COLOUR), radius)


def _draw_line(canvas: Pixels, line: NDArray[np.float64], colour: Colour, width: int) -> None:
    """A dark edge under the colour keeps the line visible on bright skin."""
    fixed = [_fixed(line)]
    cv2.polylines(canvas, fixed, False, (20, 20, 20), width + 1, cv2.LINE_AA, _SHIFT)
    cv2.polylines(canvas, fixed, False, colour, width, cv2.LINE_AA, _SHIFT)


def _draw_dot(canvas: Pixels, point: NDArray[np.float64], colour: Colour, radius: float) -> None:
    centre = [int(v) for v in _fixed(point)]
    bright = tuple((255 + channel) // 2 for channel in colour)
    for spread, shade in ((radius + 1.0, (20, 20, 20)), (radius, bright)):
        cv2.circle(canvas, centre, round(spread * 2**_SHIFT), shade, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """OpenCV's fixed-point coordinates. Far-away points are brought near, which 32 bits need."""
    return np.asarray(np.round(np.clip(points, -1e6, 1e6) * 2**_SHIFT), np.int32)
