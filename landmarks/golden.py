"""The golden crop: one real face whose points every exported model states, so that a server can prove itself at start.

The picture is NASA's portrait of Eileen Collins (public domain).
"""

from __future__ import annotations

from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import NDArray

from landmarks.crop import scaling, warp

GOLDEN_TOLERANCE = 0.05
"""Largest difference in crop pixels between a point as exported and as served (other kernels, same weights)."""


def golden_crop(size: int = 256) -> NDArray[np.uint8]:
    """The golden crop as RGB [size, size, 3]."""
    data = np.frombuffer(files("landmarks").joinpath("golden.png").read_bytes(), np.uint8)
    image = np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)
    return warp(image, scaling(size / image.shape[0]), size)
