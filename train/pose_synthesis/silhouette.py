"""Where WFLW's annotators draw the points that a rotated head hides.

The contour is the edge of the face from ear to chin on the visible side, and on the far side the silhouette of the
cheek, which passes behind the nose. Along either it is evenly spaced. Other points of the far side come to lie behind
the bridge of the nose or the middle of the lips at large yaw; the annotators then draw them on that line.
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
CHIN_POINT: Final = 16
"""The contour's point at the chin."""
ROWS: Final = len(CONTOUR)
"""Paths of the model on which the contour may lie."""
SIDE: Final = np.array([{"right": -1, "left": 1}.get(name.split("_")[0], 0) for name in WFLW98.point_names])
"""[98] the side of the image on which a point lies when the face looks at the camera: -1 left, 1 right, 0 middle."""
INNER: Final = np.isin(np.arange(len(WFLW98.point_names)), JAW, invert=True)
"""[98] whether the point does not belong to the contour."""
MAX_END_ROW: Final = 12.0
"""The path, counted from an ear, above which the contour's end lies."""


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Points as weighted sums of a few vertices each."""

    vertices: Indices
    """[P, K] indices"""
    weights: Array
    """[P, K]"""

    def interpolate(self, values: Array) -> Array:
        """Values at the vertices [V, ...] -> at the points [P, ...]."""
        at_points: Array = np.einsum("pk,pk...->p...", self.weights, values[self.vertices])
        return at_points


@dataclass(frozen=True, eq=False)
class Spacing:
    """How an annotator's 33 points are spaced along the contour."""

    ends: tuple[float, float]
    """The path, counted from 0, on which the first and the last point lie."""
    shares: Array
    """[33] share of the way from the end of the point's side to the chin"""


def silhouette(model: FaceModel, camera: Array, axes: Array) -> SurfacePoints:
    """The 35 outermost points along the model's paths, for vertices `camera` [V, 3] in camera coordinates.

    In the upright frame `axes` (`Pose.upright_axes`): outermost to the left for paths of the right side, to the right
    for those of the left side, downwards for that of the chin.
    """
    flat = camera[model.paths, :2]
    outward = flat @ axes[0] * np.sign(np.arange(ROWS) - CHIN)[:, None]
    outward[CHIN] = -flat[CHIN] @ axes[1]
    best = outward.argmax(axis=1)
    # between the samples of a path: the vertex of the parabola through the outermost one and its neighbors
    inner = best.clip(1, outward.shape[1] - 2)
    rows = np.arange(ROWS)
    before, at, after = (outward[rows, inner + step] for step in (-1, 0, 1))
    curvature = before - 2 * at + after
    concave = curvature < -1e-9
    peak = inner + np.where(concave, 0.5 * (before - after) / np.where(concave, curvature, 1), 0)
    position = np.where(best == inner, peak.clip(best - 0.5, best + 0.5), best)
    first = np.floor(position).astype(int).clip(0, outward.shape[1] - 2)
    share = position - first
    vertices = np.stack([model.paths[rows, first], model.paths[rows, first + 1]], axis=1)
    return SurfacePoints(vertices, np.stack([1 - share, share], axis=1))


def measure_spacing(points: Array, line: Array, axes: Array) -> Spacing:
    """The spacing of annotated contour points [33, 2] along the model's silhouette [35, 2]; centimeters, y up.

    An end lies on the path of its height along the head's upright axis.
    """
    height, at = line @ axes[1], points @ axes[1]
    rows = np.arange(CHIN + 1, dtype=float)
    first = np.interp(-at[0], np.maximum.accumulate(-height[: CHIN + 1]), rows).clip(0, MAX_END_ROW)
    last = np.interp(-at[-1], np.maximum.accumulate(-height[CHIN:][::-1]), rows).clip(0, MAX_END_ROW)
    lengths = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    to_chin, total = lengths[CHIN_POINT], lengths[-1]
    shares = np.where(lengths <= to_chin, lengths / to_chin, (total - lengths) / max(total - to_chin, 1e-9))
    return Spacing((float(first), float(ROWS - 1 - last)), shares)


def spaced_points(outline: SurfacePoints, line: Array, spacing: Spacing) -> SurfacePoints:
    """33 points at the spacing's shares of the silhouette's length; `line` [35, 2] is the silhouette in the image."""
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    rows = np.arange(ROWS)
    ends = np.interp(spacing.ends, rows, length)
    start = np.repeat(ends, [CHIN_POINT + 1, CHIN_POINT])
    row = np.interp(start + spacing.shares * (length[CHIN] - start), length, rows)
    upper = np.floor(row).astype(int).clip(0, ROWS - 2)
    share = (row - upper)[:, None]
    vertices = np.concatenate([outline.vertices[upper], outline.vertices[upper + 1]], axis=1)
    weights = np.concatenate([(1 - share) * outline.weights[upper], share * outline.weights[upper + 1]], axis=1)
    return SurfacePoints(vertices, weights)


def contour_points(model: FaceModel, camera: Array, pose: Pose, spacing: Spacing) -> SurfacePoints:
    """The contour's 33 points for vertices [V, 3] in camera coordinates."""
    outline = silhouette(model, camera, pose.upright_axes())
    return spaced_points(outline, outline.interpolate(camera)[:, :2], spacing)


def all_points(model: FaceModel, jaw: SurfacePoints) -> SurfacePoints:
    """The 98 points: those of the contour, and the vertices of the others."""
    vertices = np.repeat(model.points[:, None], 4, axis=1)
    weights = np.tile([1.0, 0, 0, 0], (len(vertices), 1))
    vertices[JAW], weights[JAW] = jaw.vertices, jaw.weights
    return SurfacePoints(vertices, weights)


def behind_midline(model: FaceModel, points: Array, camera: Array, axes: Array) -> Array:
    """[98] centimeters by which each point lies behind the midline, 0 for those that do not.

    Camera coordinates: `points` [98, 3] and the head's vertices `camera` [V, 3].
    """
    horizontal, midline = points[:, :2] @ axes[0], camera[model.midline, :2] @ axes[0]
    return np.asarray(np.maximum(0, SIDE * (midline - horizontal)) * INNER)
