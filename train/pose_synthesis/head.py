"""One face's head: the model fitted to it, deformed so that its points lie exactly where they were annotated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from landmarks.layout import WFLW98
from train.pose_synthesis.fit import fit_model
from train.pose_synthesis.model import FaceModel
from train.pose_synthesis.pose import Pose
from train.pose_synthesis.silhouette import JAW, SIDE, Spacing, SurfacePoints, behind_midline, contour_points

Array = NDArray[np.floating[Any]]

PIVOT: Final = np.array([0.0, -5.0, 0.0])
"""The point of the model, in the neck, about which a head is rotated."""
JAW_OPEN: Final = 28
"""Index of the expression that opens the mouth."""
KERNEL_RADIUS: Final = 6.0
"""Centimeters around a point within which its displacement deforms the head."""
STIFFNESS: Final = 1e-3
"""Regularisation of the deformation, against 1 for a point's own displacement."""


@dataclass(frozen=True, eq=False)
class PosedPoints:
    """The 98 points of a head in some pose."""

    points: Array
    """[98, 2] pixels"""
    depth: Array
    """[98] centimeters towards the camera"""
    moved: NDArray[np.bool_]
    """[98] whether a point would lie behind the midline, and was moved onto it"""


@dataclass(frozen=True, eq=False)
class Head:
    """The head of one annotated face."""

    model: FaceModel
    pose: Pose
    """In the image."""
    vertices: Array
    """[V, 3] model coordinates"""
    points: Array
    """[98, 3] model coordinates; for the contour as it lies in the image"""
    spacing: Spacing
    contour_residuals: Array
    """[33, 2] what is left between the annotated contour and the deformed model's; centimeters in the upright frame"""
    midline_offsets: Array
    """[98] centimeters by which the annotated points lie behind the midline in the image"""
    fit_error: float
    """Mean distance in centimeters of the points from the fitted model before its deformation."""

    def posed_vertices(self, pose: Pose) -> Array:
        """[V, 3] camera coordinates in another pose (made by `pose_at`). The neck twists between head and shoulders."""
        vector = _rotation_vector(pose.rotation @ self.pose.rotation.T)
        angle = float(np.linalg.norm(vector))
        axis = vector / max(angle, 1e-12)
        arm = self.pose.rotate(self.vertices - PIVOT)
        part = (angle * self.model.rotation_share)[:, None]
        # Rodrigues' formula, with an angle for each vertex
        rotated = (
            np.cos(part) * arm + np.sin(part) * np.cross(axis, arm) + (1 - np.cos(part)) * np.outer(arm @ axis, axis)
        )
        return np.asarray(rotated + pose.rotate(PIVOT))

    def posed_points(self, pose: Pose) -> PosedPoints:
        """The points in another pose, the contour on its silhouette, and none behind the midline."""
        axes = pose.upright_axes()
        vertices = pose.rotate(self.vertices)
        points = pose.rotate(self.points)
        behind = np.maximum(0, behind_midline(self.model, points, vertices, axes) - self.midline_offsets)
        points[:, :2] += (SIDE * behind)[:, None] * axes[0]
        points[JAW] = contour_points(self.model, vertices, pose, self.spacing).interpolate(vertices)
        points[JAW, :2] += self.contour_residuals @ axes
        return PosedPoints(pose.to_pixels(points), points[:, 2], behind > 0)

    def pose_at(self, yaw: float, pitch: float) -> Pose:
        """The pose of the head at another yaw and pitch in degrees, as of `Pose.angles`."""
        return self.pose.with_angles(yaw, pitch, PIVOT)


def scaled(head: Head, factor: float) -> Head:
    """The same head in its image enlarged by a factor."""
    pose = replace(head.pose, scale=head.pose.scale * factor, shift=(head.pose.shift + 0.5) * factor - 0.5)
    return replace(head, pose=pose)


def fit_head(model: FaceModel, points: Array) -> Head:
    """The head whose points are annotated at [98, 2] pixels."""
    fitted = fit_model(model, points)
    pose = fitted.pose
    axes = pose.upright_axes()
    shape = model.shape(fitted.coefficients)
    errors = (points - pose.project(fitted.surface_points.interpolate(shape))) / [pose.scale, -pose.scale]
    fit_error = float(np.linalg.norm(errors, axis=1).mean())
    camera = pose.rotate(shape)
    behind = behind_midline(model, fitted.surface_points.interpolate(camera), camera, axes)
    fixed = [i for i in range(len(points)) if i not in WFLW98.groups["pupils"] and behind[i] == 0]
    vertices = deform(model, shape, fitted.surface_points, fixed, errors[fixed] @ pose.rotation[:2])
    on_model = fitted.surface_points.interpolate(vertices)
    errors = (points - pose.project(on_model)) / [pose.scale, -pose.scale]
    camera = pose.rotate(vertices)
    contour = contour_points(model, camera, pose, fitted.spacing).interpolate(camera)[:, :2]
    residuals = ((points[JAW] - pose.shift) / [pose.scale, -pose.scale] - contour) @ axes.T
    exact = on_model + errors @ pose.rotation[:2]
    offsets = behind_midline(model, pose.rotate(exact), camera, axes)
    return Head(model, pose, vertices, exact, fitted.spacing, residuals, offsets, fit_error)


def deform(model: FaceModel, shape: Array, points: SurfacePoints, fixed: list[int], displacements: Array) -> Array:
    """Vertices [V, 3]: `shape` with the points `fixed` moved by displacements [n, 3], and the skin smoothly with them.

    Interpolation by Wendland's radial basis function. Distances are those of a face with its mouth half open, so that
    upper and lower lip move independently.
    """
    rest = model.mean + 0.5 * model.components[model.identities + JAW_OPEN]
    centers = points.interpolate(rest)[fixed]
    gram = _kernel(centers, centers) + STIFFNESS * np.eye(len(fixed))
    return shape + _kernel(rest, centers) @ np.linalg.solve(gram, displacements)


def _kernel(a: Array, b: Array) -> Array:
    """[A, 3], [B, 3] -> [A, B]: 1 at distance 0, falling to 0 at KERNEL_RADIUS."""
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    distance = np.sqrt(np.maximum(squared, 0)) / KERNEL_RADIUS
    values: Array = np.maximum(0, 1 - distance) ** 4 * (4 * distance + 1)
    return values


def _rotation_vector(rotation: Array) -> Array:
    """[3] axis times angle in radians of a rotation by less than 180 degrees."""
    skew = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    sine, cosine = np.linalg.norm(skew) / 2, (np.trace(rotation) - 1) / 2
    return np.asarray(skew / (2 * max(float(sine), 1e-12)) * np.arctan2(sine, cosine))
