"""Boxes xyxy: their size, and how far they overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]


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
