"""Where WFLW's annotators draw the points that a turned head hides.

The contour is the edge of the face from ear to chin on the side that is seen, and on the far side the silhouette of the
cheek, which passes behind the nose. Along either it is spaced evenly. Of the other points those of the far side come to
lie behind the bridge of the nose or the middle of the lips at large yaw; the annotators put them on that line then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from landmarks.layout import WFLW98
from train.pose_synthesis.model import CHIN, CONTOUR, FaceModel, Indices
from train.pose_synthesis.pose import Pose

Array = NDArray[np.floating[Any]]

JAW: Final = list(WFLW98.groups["jaw"])
MIDDLE: Final = 16
"""The contour's point at the chin."""
ROWS: Final = len(CONTOUR)
SIDE: Final = np.array([{"right": -1, "left": 1}.get(name.split("_")[0], 0) for name in WFLW98.point_names])
"""[98] on which side of the picture a point lies when the face looks at the camera."""
INNER: Final = np.isin(np.arange(len(WFLW98.point_names)), JAW, invert=True)
"""[98] whether the point does not belong to the contour."""
LAST_START: Final = 12.0
"""The contour's upper ends lie above this path."""


@dataclass(frozen=True, eq=False)
class Places:
    """Points as sums of a few vertices each."""

    vertices: Indices
    """[P, K]"""
    weights: Array
    """[P, K]"""

    def of(self, values: Array) -> Array:
        """Values [V, ...] at the vertices -> at the points [P, ...]."""
        found: Array = np.einsum("pk,pk...->p...", self.weights, values[self.vertices])
        return found


@dataclass(frozen=True, eq=False)
class Spacing:
    """How an annotator's 33 points lie along the contour."""

    ends: tuple[float, float]
    """the path, counted from 0, at which the first and the last point lie"""
    shares: Array
    """[33] share of the way from its side's end to the chin"""


def edge(model: FaceModel, turned: Array, axes: Array) -> Places:
    """The 35 places farthest out along the model's paths: to the left in the head's own upright frame for the right
    side's paths, to the right for the left side's, down for the chin's.
    """
    flat = turned[model.paths, :2]
    outward = flat @ axes[0] * np.sign(np.arange(ROWS) - CHIN)[:, None]
    outward[CHIN] = -flat[CHIN] @ axes[1]
    best = outward.argmax(axis=1)
    # between the places of a path: the peak of the parabola through the farthest and its neighbours
    inner = best.clip(1, outward.shape[1] - 2)
    rows = np.arange(ROWS)
    before, at, after = (outward[rows, inner + step] for step in (-1, 0, 1))
    bend = before - 2 * at + after
    peak = inner + np.where(bend < -1e-9, 0.5 * (before - after) / np.where(bend < -1e-9, bend, 1), 0)
    place = np.where(best == inner, peak.clip(best - 0.5, best + 0.5), best)
    first = np.floor(place).astype(int).clip(0, outward.shape[1] - 2)
    share = place - first
    vertices = np.stack([model.paths[rows, first], model.paths[rows, first + 1]], axis=1)
    return Places(vertices, np.stack([1 - share, share], axis=1))


def spacing_of(points: Array, line: Array, axes: Array) -> Spacing:
    """The spacing of annotated contour points [33, 2], given the model's edge [35, 2] as it lies now; y up.

    An end lies on the path of its height, measured along the head's upright axis.
    """
    height, at = line @ axes[1], points @ axes[1]
    rows = np.arange(CHIN + 1, dtype=float)
    first = np.interp(-at[0], np.maximum.accumulate(-height[: CHIN + 1]), rows).clip(0, LAST_START)
    last = np.interp(-at[-1], np.maximum.accumulate(-height[CHIN:][::-1]), rows).clip(0, LAST_START)
    steps = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    middle, whole = steps[MIDDLE], steps[-1]
    shares = np.where(steps <= middle, steps / middle, (whole - steps) / max(whole - middle, 1e-9))
    return Spacing((float(first), float(ROWS - 1 - last)), shares)


def along(places: Places, line: Array, spacing: Spacing) -> Places:
    """33 places at the spacing's shares of the edge's length; `line` [35, 2] is the edge as it lies in the picture."""
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    rows = np.arange(ROWS)
    ends = np.interp(spacing.ends, rows, length)
    start = np.repeat(ends, [MIDDLE + 1, MIDDLE])
    row = np.interp(start + spacing.shares * (length[CHIN] - start), length, rows)
    upper = np.floor(row).astype(int).clip(0, ROWS - 2)
    share = (row - upper)[:, None]
    vertices = np.concatenate([places.vertices[upper], places.vertices[upper + 1]], axis=1)
    weights = np.concatenate([(1 - share) * places.weights[upper], share * places.weights[upper + 1]], axis=1)
    return Places(vertices, weights)


def contour(model: FaceModel, turned: Array, pose: Pose, spacing: Spacing) -> Places:
    """The contour's 33 places for a turned head [V, 3]."""
    places = edge(model, turned, pose.upright())
    return along(places, places.of(turned)[:, :2], spacing)


def all_places(model: FaceModel, jaw: Places) -> Places:
    """The 98 places: the contour's, and the vertices of the others."""
    vertices = np.repeat(model.points[:, None], 4, axis=1)
    weights = np.tile([1.0, 0, 0, 0], (len(vertices), 1))
    vertices[JAW], weights[JAW] = jaw.vertices, jaw.weights
    return Places(vertices, weights)


def behind_middle(model: FaceModel, at: Array, turned: Array, axes: Array) -> Array:
    """[98] centimetres by which each point has slipped behind the midline, 0 for those that have not.

    `at` [98, 3] are the points and `turned` [V, 3] the head as the camera has them.
    """
    horizontal, middles = at[:, :2] @ axes[0], turned[model.middles, :2] @ axes[0]
    return np.asarray(np.maximum(0, SIDE * (middles - horizontal)) * INNER)
