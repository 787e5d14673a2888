"""Face box -> crop, the matrices between image and crop, and the warp that serving and training share.

(0, 0) is the centre of the top-left pixel, in the image and in the crop alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from landmarks.size import Size

Matrix = NDArray[np.float64]
"""A 2x3 affine map: out = M[:, :2] @ in + M[:, 2]."""


@dataclass(frozen=True)
class Crop:
    """A rectangle of the image that has the shape of `size`, shown in so many pixels.

    `side` is its longer side in image pixels. `roll` (radians) rotates it clockwise on screen about its centre; 0 is
    upright.
    """

    center_x: float
    center_y: float
    side: float
    size: Size
    roll: float = 0.0

    @classmethod
    def around(cls, box: ArrayLike, scale: float, size: Size, roll: float = 0.0) -> Crop:
        """The crop around an xyxy box: the box's centre, and `scale` times the rectangle that holds the box: see
        `longer_side`.

        Raises ValueError unless the box is four finite numbers with x1 < x2 and y1 < y2.
        """
        x1, y1, x2, y2 = np.asarray(box, np.float64)
        if not (math.isfinite(x1 + y1 + x2 + y2) and x1 < x2 and y1 < y2):
            raise ValueError(f"a box needs finite x1 < x2 and y1 < y2, not {[x1, y1, x2, y2]}")
        return cls(float(x1 + x2) / 2, float(y1 + y2) / 2, scale * longer_side(x2 - x1, y2 - y1, size), size, roll)

    @property
    def scale(self) -> float:
        """Crop pixels per image pixel."""
        return max(self.size) / self.side

    def image_to_crop(self) -> Matrix:
        """2x3 matrix from image pixels to crop pixels."""
        c, s = self.scale * math.cos(self.roll), self.scale * math.sin(self.roll)
        middle_x, middle_y = (self.size.width - 1) / 2, (self.size.height - 1) / 2
        return np.array(
            [
                [c, s, middle_x - c * self.center_x - s * self.center_y],
                [-s, c, middle_y + s * self.center_x - c * self.center_y],
            ]
        )

    def crop_to_image(self) -> Matrix:
        """2x3 matrix from crop pixels to image pixels."""
        return invert(self.image_to_crop())


def longer_side(width: float, height: float, shape: Size) -> float:
    """The longer side of the smallest rectangle of that shape that holds one of `width` x `height`.

    Where the shape is a square, that is the longer of the two. The literature on human poses extends boxes likewise.
    """
    longest = max(shape)
    return float(max(width * (longest / shape.width), height * (longest / shape.height)))


def invert(matrix: Matrix) -> Matrix:
    """The 2x3 matrix of the inverse map.

    Written out, because `np.linalg.inv` starts OpenBLAS's threads even for a 2x2 matrix, and they spin for 20 ms of CPU
    time afterwards: that halved the throughput of the service.
    """
    (a, b, x), (c, d, y) = matrix.tolist()
    determinant = a * d - b * c
    inverse: Matrix = np.array([[d, -b, b * y - d * x], [-c, a, c * x - a * y]]) / determinant
    return inverse


def compose(outer: Matrix, inner: Matrix) -> Matrix:
    """The 2x3 matrix that applies `inner`, then `outer`."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def mirror(width: int) -> Matrix:
    """The 2x3 matrix that mirrors a crop of `width` pixels left to right."""
    return np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0]])


def scaling(x: float, y: float | None = None) -> Matrix:
    """The 2x3 matrix that enlarges an image `x` and `y` times (the same unless given) and keeps the outer corner of its
    first pixel in place.
    """
    y = x if y is None else y
    # pixel centres: new = (old + 0.5) * scale - 0.5
    return np.array([[x, 0.0, (x - 1) / 2], [0.0, y, (y - 1) / 2]])


def shifting(by: ArrayLike) -> Matrix:
    """The 2x3 matrix that moves an image by [2] pixels."""
    return np.column_stack([np.eye(2), np.asarray(by, np.float64)])


def transform_points(matrix: Matrix, points: ArrayLike) -> NDArray[np.float64]:
    """Points [..., 2] through a 2x3 matrix, in float64."""
    result: NDArray[np.float64] = np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return result


def transform_covariances(matrix: Matrix, covariances: ArrayLike) -> NDArray[np.float64]:
    """Covariances [..., 2, 2] through the linear part of a 2x3 matrix, in float64."""
    linear = matrix[:, :2]
    result: NDArray[np.float64] = linear @ np.asarray(covariances, np.float64) @ linear.T
    return result


def warp(image: NDArray[np.uint8], matrix: Matrix, size: Size) -> NDArray[np.uint8]:
    """The crop of that size of `image` [H, W, C] under `matrix` (image -> crop); black beyond the image.

    One bilinear warp. Where the crop reduces the image, the part that it needs is first halved by area averaging until
    less than a factor of two remains: `cv2.warpAffine` alone would alias.
    """
    part, matrix = _needed_part(image, matrix, size)
    zoom = _zoom(matrix)
    while zoom >= 2.0 and min(part.shape[:2]) > 1:
        part = _halve(part)
        matrix = compose(matrix, scaling(2.0))
        zoom /= 2.0
    crop = cv2.warpAffine(part, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(crop, np.uint8)


def _zoom(matrix: Matrix) -> float:
    """Image pixels per crop pixel.

    By hand, because `np.linalg.det` takes the exponential of a sum of logarithms: a zoom of 8 came out a little less.
    """
    (a, b), (c, d) = matrix[:, :2]
    return 1.0 / math.sqrt(abs(a * d - b * c))


def _needed_part(image: NDArray[np.uint8], matrix: Matrix, size: Size) -> tuple[NDArray[np.uint8], Matrix]:
    """The rectangle of the image that the crop covers, with a margin, and the matrix from its pixels to the crop."""
    part, origin = part_about(image.shape, corners_in_image(matrix, size), 2.0 * max(_zoom(matrix), 1.0))
    return image[part], compose(matrix, shifting(origin))


def corners_in_image(matrix: Matrix, size: Size) -> NDArray[np.float64]:
    """[4, 2] where the outer corners of a crop of that size lie under `matrix` (image -> crop)."""
    right, bottom = size.width - 0.5, size.height - 0.5
    return transform_points(invert(matrix), [[-0.5, -0.5], [right, -0.5], [-0.5, bottom], [right, bottom]])


def part_about(
    shape: tuple[int, ...], points: NDArray[np.floating[Any]], margin: float
) -> tuple[tuple[slice, slice], NDArray[np.float64]]:
    """The part of an image [H, W, ...] that holds points [..., 2] and a margin in pixels, as far as they are in it but
    one pixel at least, and the place [2] of the part's first pixel.
    """
    height, width = shape[:2]
    axes = tuple(range(points.ndim - 1))
    low, high = np.floor(points.min(axis=axes) - margin), np.ceil(points.max(axis=axes) + margin) + 1
    x1, y1 = (int(v) for v in np.clip(low, 0, [width - 1, height - 1]))
    x2, y2 = (int(v) for v in np.clip(high, [x1 + 1, y1 + 1], [width, height]))
    return (slice(y1, y2), slice(x1, x2)), np.array([x1, y1], np.float64)


def _halve(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half the size by averaging 2x2 pixels; an odd last row or column is averaged with black, which is beyond it."""
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = np.asarray(
            cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_CONSTANT, value=(0, 0, 0)), np.uint8
        )
    half = (image.shape[1] // 2, image.shape[0] // 2)
    return np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
