"""Where a new take starts."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from shots.flow import Grey

_SIZE: Final = (32, 18)
_MIN_CORRELATION: Final = 0.5
"""Of neighbouring frames of a take: a fast pan has 0.8, the two sides of a cut 0.3 at most, by chance."""


def is_cut(before: Grey, after: Grey) -> bool:
    """Whether two neighbouring frames belong to different takes.

    By the correlation of small images, which a change of exposure or a flash does not change. Flat images tell nothing.
    """
    a, b = (_small(image) for image in (before, after))
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return scale > 0 and float((a * b).sum()) < _MIN_CORRELATION * scale


def _small(image: Grey) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    small = cv2.GaussianBlur(cv2.resize(image, _SIZE, interpolation=cv2.INTER_AREA), (3, 3), 0).astype(np.float64)
    result: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = small - small.mean()
    return result
