"""Coherence of the optical flow over a face: neighbouring points move alike.

The window about each point is followed on its own. Along an edge, such as the jaw, nothing tells how far, and now and
then a window goes astray. The smoothness term of Horn and Schunck (Determining Optical Flow, 1981) ties neighbours
together, with two differences: between points instead of pixels, and robust, so that a lid or a lip is free to move
against what surrounds it. After the affine motion of most points is taken off, the motions d minimise

    sum_i (d_i - u_i)' inv(C_i) (d_i - u_i)  +  sum_ij |d_i - d_j|^2 / (STRAIN |p_i - p_j|)^2

where u_i is the motion of a window, C_i its covariance, and p_i the place of a point.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shots.flow import Flow, common_motion
from shots.matrices import inverse, matrices
from shots.tracks import Floats

STRAIN: Final = 0.025
"""How much two points may move against each other in a frame, as a share of their distance."""
REACH: Final = 0.35
"""Distance of points that are tied together, in extents of the face."""
NOISE_SHARE: Final = 0.25
"""Share of the stated variance of a window's motion that is noise, where neighbours are there to compare it with."""
COMMON_NOISE: Final = 0.035
"""Pixels: standard deviation of a window's motion that its gradients do not tell, such as by shading."""
LEFT_NOISE: Final = 0.01
"""Pixels: standard deviation that stays, however many neighbours agree."""
ASTRAY: Final = 6.0
"""Squared Mahalanobis distance of a window's motion from its neighbours' beyond which it counts less."""
_SWEEPS: Final = 4
_MIN_DISTANCE: Final = 1e-3
"""Extents of the face; points may coincide."""


def coherent(flow: Flow, before: NDArray[np.floating[Any]], keeps_variance: NDArray[np.bool_]) -> Flow:
    """The flow with neighbours tied together, and the covariances of that, of one frame or of many at a time.

    `before` [..., P, 2]: the points that were followed. `keeps_variance` [P]: points that keep the covariances of their
    windows, since they move against their neighbours.
    """
    before = np.asarray(before, np.float64)
    extent = np.maximum(np.ptp(before, axis=-2).max(axis=-1), 1.0)[..., None, None]
    motion = common_motion(before, flow.points)
    common = before @ motion[..., :2].swapaxes(-1, -2) + motion[..., None, :, 2]
    own = flow.points - common
    of_windows = NOISE_SHARE * matrices(flow.covariances) + COMMON_NOISE**2 * np.eye(2)
    information = inverse(of_windows)
    squared = _squared_distances(before)
    ties = 1 / (STRAIN**2 * np.maximum(squared, (_MIN_DISTANCE * extent) ** 2))
    ties[(squared > (REACH * extent) ** 2) | np.eye(before.shape[-2], dtype=bool)] = 0
    moved = _approximate_minimum(own, information, ties)
    astray = np.einsum("...i,...ij,...j->...", own - moved, information, own - moved) / ASTRAY
    doubt = np.maximum(astray, 1)[..., None, None]
    of_windows, information = of_windows * doubt, information / doubt
    ties /= np.maximum(ties * _squared_distances(moved), 1)
    moved = _minimum(own, information, ties)
    covariances = _covariances(of_windows, information, ties)
    return Flow(common + moved, np.where(keeps_variance[:, None], flow.covariances, covariances))


def _squared_distances(points: Floats) -> Floats:
    """Of each two points [..., P, 2]: [..., P, P]. Written as products, which take a tenth of the time of
    differences.
    """
    norms = np.square(points).sum(axis=-1)
    products = points @ points.swapaxes(-1, -2)
    squared: Floats = np.maximum(norms[..., :, None] + norms[..., None, :] - 2 * products, 0)
    return squared


def _approximate_minimum(own: Floats, information: Floats, ties: Floats) -> Floats:
    """As `_minimum`, by a few sweeps of Jacobi's method: enough to tell which windows went astray."""
    weighted = np.einsum("...ij,...j->...i", information, own)
    each = inverse(information + ties.sum(axis=-1)[..., None, None] * np.eye(2))
    moved = own
    for _ in range(_SWEEPS):
        moved = np.einsum("...ij,...j->...i", each, weighted + ties @ moved)
    return moved


def _minimum(own: Floats, information: Floats, ties: Floats) -> Floats:
    """The motions [..., P, 2] of the least sum. `information`: inv(C) [..., P, 2, 2]. `ties` [..., P, P]: the second
    sum's weights.
    """
    count = own.shape[-2]
    system = np.zeros((*own.shape[:-2], count, 2, count, 2))
    system[..., 0, :, 0] = system[..., 1, :, 1] = -ties
    of_each = np.einsum("...pipj->...pij", system)  # a view of what each point has with itself
    of_each += information + ties.sum(axis=-1)[..., None, None] * np.eye(2)
    right = np.einsum("...ij,...j->...i", information, own)
    size = 2 * count
    moved = np.linalg.solve(system.reshape(*own.shape[:-2], size, size), right.reshape(*own.shape[:-2], size, 1))
    return np.asarray(moved.reshape(own.shape), np.float64)


def _covariances(of_windows: Floats, information: Floats, ties: Floats) -> Floats:
    """[..., P, 3] of the motions: of what a window says, and each neighbour's window through its tie.

    That neighbours know each other is left out: the inverse of the whole system, which takes longer than all the
    rest, gives a tenth less for one point in twenty and the same for most.
    """
    variances = np.trace(of_windows, axis1=-2, axis2=-1)[..., None, :] / 2
    of_neighbours = (ties / (1 + ties * variances)).sum(axis=-1)
    both = inverse(information + of_neighbours[..., None, None] * np.eye(2)) + LEFT_NOISE**2 * np.eye(2)
    return np.stack([both[..., 0, 0], both[..., 0, 1], both[..., 1, 1]], axis=-1)
