"""Symmetric 2 x 2 matrices, many at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shots.tracks import Floats


def matrices(covariances: Floats) -> Floats:
    """[..., 3] -> [..., 2, 2]"""
    result: Floats = np.asarray(covariances, np.float64)[..., [[0, 1], [1, 2]]]
    return result


def inverse(matrix: NDArray[np.float64]) -> Floats:
    """Of 2 x 2 matrices [..., 2, 2], written out: NumPy's own is slower by far for many small ones."""
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    adjugate = np.stack([np.stack([d, -b], axis=-1), np.stack([-c, a], axis=-1)], axis=-2)
    result: Floats = adjugate / (a * d - b * c)[..., None, None]
    return result
