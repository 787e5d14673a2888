"""The type of an image's pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""RGB, uint8 [height, width, 3]."""
