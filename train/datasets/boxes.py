"""Boxes xyxy: their size, how they overlap, and how they change with their image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from landmarks.crop import Matrix, transform_points

Boxes = NDArray[np.float64]
"""[N, 4] xyxy with x1 < x2 and y1 < y2, in pixels"""


def area_of(boxes: Boxes) -> NDArray[np.float64]:
    """[N] width times height of boxes [N, 4]."""
    areas: NDArray[np.float64] = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return areas


def size_of(boxes: Boxes) -> NDArray[np.float64]:
    """[N] the root of each box's area."""
    return np.sqrt(area_of(boxes))


def iou(boxes: Boxes, others: Boxes) -> NDArray[np.float64]:
    """Intersection over union of boxes [N, 4] with boxes [M, 4]: [N, M]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=2)
    overlaps: NDArray[np.float64] = shared / (area_of(boxes)[:, None] + area_of(others) - shared)
    return overlaps


def overlap_of_smaller(box: NDArray[np.float64], others: Boxes) -> NDArray[np.float64]:
    """[N] the area that a box [4] shares with each of the others [N, 4], over the smaller of the two areas."""
    shared = (np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])).clip(0).prod(axis=1)
    smaller = np.minimum(area_of(box[None]), area_of(others))
    shares: NDArray[np.float64] = shared / smaller
    return shares


def clipped(boxes: Boxes, side: int) -> Boxes:
    """The parts of boxes [N, 4] that lie on a square image of `side` pixels."""
    return np.clip(boxes, -0.5, side - 0.5)


def visible_share(boxes: Boxes, side: int) -> NDArray[np.float64]:
    """[N] the share of each box's area that lies on a square image of `side` pixels."""
    return area_of(clipped(boxes, side)) / area_of(boxes)


def transform_boxes(matrix: Matrix, boxes: Boxes) -> Boxes:
    """Boxes [N, 4] under a 2x3 matrix: the upright boxes about the ellipses inscribed in the old ones.

    A face fills its box as an ellipse does, so a rotated face gets the box that a detector would give it.
    """
    centers = transform_points(matrix, (boxes[:, :2] + boxes[:, 2:]) / 2)
    halves = (boxes[:, None, 2:] - boxes[:, None, :2]) / 2
    reach = np.sqrt(((matrix[:, :2] * halves) ** 2).sum(axis=2))
    return np.concatenate([centers - reach, centers + reach], axis=1)
