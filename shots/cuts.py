"""Where a new take starts."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from shots.flow import Grey

_SIZE: Final = (32, 18)
GLANCE_SHAPE: Final = _SIZE[::-1]
_MIN_CORRELATION: Final = 0.5
"""Of neighbouring frames of a take: a fast pan has 0.8, the two sides of a cut 0.3 at most, by chance."""


def glance(image: NDArray[np.uint8]) -> Grey:
    """A small grey image [18, 32] of an image [H, W] or [H, W, 3]."""
    while image.shape[0] >= 4 * _SIZE[1] and image.shape[1] >= 4 * _SIZE[0]:  # OpenCV has a fast way to halve an image
        image = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    small = cv2.resize(image, _SIZE, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY) if small.ndim == 3 else small
    return np.asarray(cv2.GaussianBlur(grey, (3, 3), 0), np.uint8)


def differ(before: Grey, after: Grey) -> bool:
    """Whether the glances at two neighbouring frames are of different takes.

    By their correlation, which a change of exposure or a flash does not change. Flat images tell nothing.
    """
    a, b = (each - each.mean() for each in (before, after))
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return scale > 0 and float((a * b).sum()) < _MIN_CORRELATION * scale
