"""Boxes for faces with synthesized poses, as a detector would draw them: with the margins of boxes about known points.

A detector's box has the same margins about the points' tight box, as shares of its height, whatever the yaw: those of
YuNet on synthesized images differ on average by no more than 3 % up to 75 degrees, 7 % at 90.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from train.datasets.face import AnnotatedFace

Array = NDArray[np.floating[Any]]

OUTLIERS: Final = 5.0
"""Percent of each margin's smallest and of its largest values that are clipped."""


def box_margins(faces: Sequence[AnnotatedFace]) -> Array:
    """[N, 4] how far boxes extend beyond the tight ones at left, top, right and bottom, in heights of the tight box."""
    boxes, tight = np.stack([face.box for face in faces]), np.stack([face.tight_box for face in faces])
    margins = (boxes - tight) * [-1, -1, 1, 1] / (tight[:, 3:] - tight[:, 1:2])
    return np.clip(margins, *np.percentile(margins, [OUTLIERS, 100 - OUTLIERS], axis=0))


def detector_box(points: Array, margins: Array, rng: np.random.Generator) -> Array:
    """[4] xyxy about points [98, 2], with margins drawn from [N, 4] at random."""
    low, high = points.min(axis=0), points.max(axis=0)
    beyond = margins[rng.integers(len(margins))] * (high[1] - low[1])
    return np.concatenate([low - beyond[:2], high + beyond[2:]])
