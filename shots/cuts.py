"""Where a new take starts."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from shots.flow import Grey
from shots.reading.colour import grey
from shots.reading.picture import Samples

_SIZE: Final = (32, 18)
GLANCE_SHAPE: Final = _SIZE[::-1]
_SAMPLES: Final = 8
"""Pixels of the picture that are looked at, at least, along each side of a pixel of the glance; all of a small one."""
_MIN_CORRELATION: Final = 0.5
"""Of neighbouring frames of a take: a fast pan has 0.8, the two sides of a cut 0.3 at most, by chance."""


def glance(samples: Samples) -> Grey:
    """A small grey image [18, 32] of a picture [H, W, 3], or [H, W] of 8 bits."""
    height, width = samples.shape[:2]
    step = max(1, min(width // (_SAMPLES * _SIZE[0]), height // (_SAMPLES * _SIZE[1])))
    small = cv2.resize(grey(samples[::step, ::step]), _SIZE, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(small, (3, 3), 0), np.uint8)


def differ(before: Grey, after: Grey) -> bool:
    """Whether the glances at two neighbouring frames are of different takes.

    By their correlation, which a change of exposure or a flash does not change. Flat images tell nothing.
    """
    a, b = (each - each.mean() for each in (before, after))
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return scale > 0 and float((a * b).sum()) < _MIN_CORRELATION * scale
