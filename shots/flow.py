"""Optical flow of a face's points from one frame to the next, by Lucas and Kanade's method, with its uncertainty.

The flow follows the skin: where the points of a frame are in the next one if nothing but the skin decides. It is far
less noisy between neighbouring frames than the network, but drifts over many, and does not see a lid that closes over
an eye. `shots.smoothing` joins the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from landmarks.crop import Matrix, compose, part_about, shifting, transform_points
from shots.matrices import inverse
from shots.reading.colour import grey
from shots.reading.picture import Samples
from shots.tracks import Floats

Grey = NDArray[np.uint8]
"""[H, W]"""

_MAX_EXTENT: Final = 400.0
"""Pixels along a side of the points' bounding box beyond which the image is halved, for which OpenCV has a fast way,
until the face is no larger."""
_REACH: Final = 0.35
"""Extents of the face by which it may move between two frames."""
_WINDOW_SHARE: Final = 0.065
"""Side of the window that is followed, in extents of the face."""
_MIN_WINDOW: Final = 9
_LEVELS: Final = 3
_COMMON_STRIDE: Final = 3
"""Every third point tells the motion of all as well as each does."""
_SAMPLES: Final = 20
"""Pixels along a window's side whose gradients are added up, at least; all of a smaller window."""
_FINE_LEVELS: Final = 0
"""Once most of the motion is known: with more, a window here and there goes astray."""
_CRITERIA: Final = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.005)
_MIN_EIGENVALUE: Final = 1e-7
"""Far below OpenCV's own: along an edge a point is followed, too, and the covariance says in which direction."""
_ROUNDS: Final = 4
_RIDGE: Final = 1e-9
"""Of the squared extent of the face, added to how widely points are spread: along a line they are not."""
_AS_BEFORE: Final = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
"""OpenCV's cubic interpolation would move the image by up to 0.05 pixels."""
_EDGE: Final = cv2.BORDER_REPLICATE
_NOISE: Final = 4.0
"""Grey levels by which two views of a patch differ: noise, shading, what the model of a shift leaves out."""
_FLOOR: Final = 0.01
"""Standard deviation in pixels of the reduced image below which nothing is believed."""
_MAX_VARIANCE: Final = 400.0
"""Pixels squared of the reduced image: where nothing is known."""


@dataclass(frozen=True, eq=False)
class Flow:
    """Where points of the frame before are in a frame."""

    points: Floats
    """[P, 2]; of many frames at a time [F, P, 2]"""
    covariances: Floats
    """[P, 3] xx, xy, yy: large along an edge, and where forth and back do not meet; [F, P, 3] likewise"""


def follow(before: Samples, after: Samples, points: NDArray[np.floating[Any]]) -> Flow:
    """Follows points [P, 2] from one frame to the next: pictures [H, W, 3], or [H, W] of 8 bits. Points beyond the
    picture are followed as its edge is.
    """
    points = np.asarray(points, np.float64)
    extent = max(float(np.ptp(points, axis=0).max()), 1.0)
    scale = 2.0 ** min(0, math.floor(math.log2(_MAX_EXTENT / extent)))
    window = max(_MIN_WINDOW, 2 * round(_WINDOW_SHARE * extent * scale) + 1)
    # a face moves far, but within it little: what is dear is done in a smaller part
    part, origin = part_about(before.shape, points, _REACH * extent + 16)
    first, second = (_reduced(grey(image[part]), scale) for image in (before, after))
    start = ((points - origin + 0.5) * scale - 0.5).astype(np.float32)[:, None]
    common = _common(first, second, start[::_COMMON_STRIDE], window)
    part, inner = part_about(first.shape, start, window)
    first = np.ascontiguousarray(first[part])
    start -= inner.astype(np.float32)
    # the second image as it would be had the face moved by that alone: what is left is small, and without rotation
    common = compose(common, shifting(inner))
    second = np.asarray(cv2.warpAffine(second, common, first.shape[::-1], flags=_AS_BEFORE, borderMode=_EDGE), np.uint8)
    moved, found = _lucas_kanade(first, second, start, window, _FINE_LEVELS)
    back, found_back = _lucas_kanade(second, first, moved, window, _FINE_LEVELS)
    miss = np.linalg.norm((back - start)[:, 0].astype(np.float64), axis=1)
    miss[(found[:, 0] == 0) | (found_back[:, 0] == 0)] = np.inf
    covariances = _covariances(first, start[:, 0], window, miss)
    lost = ~np.isfinite(miss)
    moved[lost] = start[lost]
    after_common = transform_points(common, moved[:, 0])
    return Flow((after_common + 0.5) / scale - 0.5 + origin, covariances / scale**2)


def _common(first: Grey, second: Grey, points: NDArray[np.float32], window: int) -> Matrix:
    """The affine map of most points [P, 1, 2]: found at half the size, which is as exact and costs a quarter."""
    before, after = (_reduced(image, 0.5) for image in (first, second))
    start = np.asarray((points + 0.5) / 2 - 0.5, np.float32)
    moved, _ = _lucas_kanade(before, after, start, max(_MIN_WINDOW, window // 2 | 1), _LEVELS)
    return common_motion(points[:, 0], (moved[:, 0] + 0.5) * 2 - 0.5)


def _lucas_kanade(
    before: Grey, after: Grey, points: NDArray[np.float32], window: int, levels: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Points [P, 1, 2] in the other image, and 1 for each that was found there."""
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        before,
        after,
        points,
        points.copy(),
        winSize=(window, window),
        maxLevel=levels,
        criteria=_CRITERIA,
        minEigThreshold=_MIN_EIGENVALUE,
    )
    return np.asarray(moved, np.float32), np.asarray(found, np.uint8)


def common_motion(before: NDArray[np.floating[Any]], after: NDArray[np.floating[Any]]) -> Matrix:
    """The affine map [..., 2, 3] that takes most points [..., P, 2] where they went, found by weighting down those that
    it does not.

    A window that is only shifted goes astray where the image turns or grows: its gradients do not lie about its middle.
    """
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    extent = np.maximum(np.ptp(before, axis=-2).max(axis=-1), 1.0)[..., None, None]
    # displacements, so that points on a line leave the map what it is across it
    moved = after - before
    weights = np.ones_like(before[..., :1])
    for _ in range(_ROUNDS):
        shares = weights / weights.sum(axis=-2, keepdims=True)
        middle, shift = (np.sum(shares * each, axis=-2, keepdims=True) for each in (before, moved))
        about, weighted = before - middle, (shares * (before - middle)).swapaxes(-1, -2)
        # about their weighted middle the linear part is a problem of its own, whose matrices are of 2 x 2
        linear = inverse(weighted @ about + _RIDGE * extent**2 * np.eye(2)) @ (weighted @ (moved - shift))
        distance = np.linalg.norm(moved - shift - about @ linear, axis=-1, keepdims=True)
        typical = np.maximum(np.median(distance, axis=-2, keepdims=True), _FLOOR)
        weights = 1 / np.maximum(distance / typical, 1.0) ** 2
    matrix = np.eye(2) + linear.swapaxes(-1, -2)
    return np.concatenate([matrix, (middle + shift - middle @ matrix.swapaxes(-1, -2)).swapaxes(-1, -2)], axis=-1)


def _reduced(image: Grey, scale: float) -> Grey:
    """The image at 1, 1/2, 1/4 ... of its size."""
    image = np.ascontiguousarray(image)
    while scale < 1:
        image = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
        scale *= 2
    return image


def _covariances(image: Grey, at: NDArray[np.float32], window: int, miss: NDArray[np.float64]) -> Floats:
    """[P, 3] of the reduced image: the noise over what the window's gradients say, and how far forth and back miss."""
    height, width = image.shape
    x = np.clip(np.round(at[:, 0]).astype(int), 0, width - 1)
    y = np.clip(np.round(at[:, 1]).astype(int), 0, height - 1)
    # the points' windows and what their gradients are made of, since the image is twice as large
    left, top = (max(0, int(each.min()) - window // 2 - 2) for each in (x, y))
    part = image[top : y.max() + window // 2 + 3, left : x.max() + window // 2 + 3]
    # gradients vary slowly: in a large window every second pixel's tell as much
    step = max(1, window // _SAMPLES)
    side = window // step | 1
    gx, gy = (each[::step, ::step].astype(np.float32) / 8 for each in cv2.spatialGradient(part))
    rows, columns = (y - top) // step, (x - left) // step
    xx, xy, yy = (
        window**2 * cv2.boxFilter(product, -1, (side, side))[rows, columns].astype(np.float64)
        for product in (gx * gx, gx * gy, gy * gy)
    )
    # without gradients the variance is the largest; along an edge, that in its direction alone
    xx, yy = xx + _NOISE**2 / _MAX_VARIANCE, yy + _NOISE**2 / _MAX_VARIANCE
    determinant = xx * yy - xy * xy
    own = _NOISE**2 * np.stack([yy, -xy, xx], axis=1) / determinant[:, None]
    own[:, [0, 2]] += np.minimum(miss**2 / 2, _MAX_VARIANCE)[:, None] + _FLOOR**2
    result: Floats = own
    return result
