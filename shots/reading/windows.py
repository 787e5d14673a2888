"""The data window and the display window of an image file.

The coordinates of `shots` are those of the display window, (0, 0) being the centre of its top-left pixel. A file may
hold more than the display window (overscan), less, or pixels elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shots.tracks import Window


def in_display_window(data: NDArray[Any], left: int, top: int, width: int, height: int) -> NDArray[Any] | None:
    """What is seen in a display window of this size, [height, width, C]; black where there is no data.

    `data` [h, w, C] is the data window, whose top-left pixel is at (`left`, `top`) of the display window. None where no
    pixel of it is in the display window.
    """
    h, w = data.shape[:2]
    if (left, top, w, h) == (0, 0, width, height):
        return data
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + w, width), min(top + h, height)
    if x0 >= x1 or y0 >= y1:
        return None
    shown = np.zeros((height, width, data.shape[2]), data.dtype)
    shown[y0:y1, x0:x1] = data[y0 - top : y1 - top, x0 - left : x1 - left]
    return shown


def data_window(left: int, top: int, w: int, h: int, width: int, height: int) -> Window | None:
    """The data window as `ShotFrame` has it: None where it is the display window."""
    return None if (left, top, w, h) == (0, 0, width, height) else (left, top, left + w - 1, top + h - 1)
