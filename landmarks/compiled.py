"""`landmarks.codec.decode` for the decoders "topk" and "argmax" in C: `heatmaps.c`, ten times as fast as by NumPy.

It is built where the package is installed, if there is a compiler. NumPy says what is right, and answers where this
cannot: points are equal to the bit, scores and covariances within single precision (docs/decisions/0056).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_double, c_int64, c_void_p
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAX_K: Final = 64
"""Strongest cells that can be found: GROUPS of `heatmaps.c`."""
MAX_WIDTH: Final = 32
"""Cells on a side of the window: MAX_WINDOW of `heatmaps.c`."""


def load(folder: Path = Path(__file__).parent) -> ctypes.CDLL | None:
    """The library in this folder, if it was built and this machine can load it."""
    paths = (folder / f"_heatmaps{suffix}" for suffix in EXTENSION_SUFFIXES)
    try:
        built = next(ctypes.CDLL(str(path)) for path in paths if path.exists())
    except (StopIteration, OSError):
        return None
    calibration: list[Any] = [c_void_p, *[c_double] * 3]
    built.decode.argtypes = [c_void_p, *[c_int64] * 6, *[c_double] * 2, *calibration, *[c_void_p] * 4]
    return built


library = load()
"""None where NumPy has to do."""


def decode(
    heatmaps: NDArray[np.float32],
    k: int,
    width: int,
    pixels: tuple[float, float],
    calibration: tuple[float | Sequence[float], float, float, float],
    out: Sequence[NDArray[np.float32]],
) -> bool:
    """Writes points, scores and covariances into `out`; False where NumPy has to.

    `width`: of the window in cells. `pixels`: stride and offset of cells in the crop. `calibration`: the factor, or one
    for each point; floor; power; and the minimum of determinants.
    """
    if library is None or k > MAX_K or width > MAX_WIDTH:
        return False
    heatmaps = np.ascontiguousarray(heatmaps, np.float32)
    points = heatmaps.shape[1]
    scales, *others = calibration
    scale, moments = np.empty(points), np.empty((points, 3))
    scale[:] = scales
    arrays: Sequence[NDArray[Any]] = (moments, *out)
    sizes = (*heatmaps.shape, k, width)
    outputs = (array.ctypes.data for array in arrays)
    return bool(library.decode(heatmaps.ctypes.data, *sizes, *pixels, scale.ctypes.data, *others, *outputs))
