"""Conversion of an image in bands of rows: converted as a whole, it would be in memory several times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from service.images.pixels import Pixels

BAND_PIXELS: Final = 2**20


def in_bands(size: tuple[int, int], channels: int, band: Callable[[int, int], Pixels]) -> Pixels:
    """An image [H, W, channels] of `size`, width and height. `band`: the rows from one up to another, converted."""
    width, height = size
    pixels = np.empty((height, width, channels), np.uint8)
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        pixels[top:bottom] = band(top, bottom)
    return pixels
