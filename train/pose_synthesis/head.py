"""A face's own head: the fitted model bent so that its points lie exactly where they were annotated, and turned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from landmarks.layout import WFLW98
from train.pose_synthesis.fit import fit
from train.pose_synthesis.model import FaceModel
from train.pose_synthesis.pose import Pose
from train.pose_synthesis.silhouette import JAW, SIDE, Places, Spacing, behind_middle, contour

Array = NDArray[np.floating[Any]]

PIVOT: Final = np.array([0.0, -5.0, 0.0])
"""The place in the neck that a turning head leaves where it is."""
JAW_OPEN: Final = 28
"""The expression that opens the mouth."""
REACH: Final = 6.0
"""Centimetres around a point within which its displacement bends the head."""
STIFFNESS: Final = 1e-3
"""Regularisation of the bending, against 1 for a point's own displacement."""


@dataclass(frozen=True, eq=False)
class Carried:
    """The 98 points of a turned head."""

    points: Array
    """[98, 2] pixels"""
    depth: Array
    """[98] centimetres towards the camera"""
    slipped: NDArray[np.bool_]
    """[98] whether a point has come to lie behind the midline, and stands on it instead"""


@dataclass(frozen=True, eq=False)
class Head:
    """One photographed head."""

    model: FaceModel
    pose: Pose
    """as photographed"""
    vertices: Array
    """[V, 3] model coordinates"""
    points: Array
    """[98, 3] model coordinates; those of the contour as they lie in the photograph"""
    spacing: Spacing
    rest: Array
    """[33, 2] what the bent model still misses of the contour in the photograph; centimetres, upright frame"""
    slack: Array
    """[98] centimetres by which the annotated points lie behind the midline in the photograph"""
    misfit: float
    """centimetres by which the model missed the points on average before it was bent"""

    def turned(self, pose: Pose) -> Array:
        """[V, 3] the camera's coordinates in another pose (made by `Pose.facing`): the neck twists along."""
        vector = _rotation_vector(pose.rotation @ self.pose.rotation.T)
        angle = float(np.linalg.norm(vector))
        axis = vector / max(angle, 1e-12)
        arm = self.pose.turn(self.vertices - PIVOT)
        part = (angle * self.model.turning)[:, None]
        # Rodrigues' formula, each vertex by its own angle
        moved = (
            np.cos(part) * arm + np.sin(part) * np.cross(axis, arm) + (1 - np.cos(part)) * np.outer(arm @ axis, axis)
        )
        return np.asarray(moved + pose.turn(PIVOT))

    def carried(self, pose: Pose) -> Carried:
        """The points in another pose, the contour slid to the silhouette."""
        axes = pose.upright()
        turned = pose.turn(self.vertices)
        at = pose.turn(self.points)
        slipped = np.maximum(0, behind_middle(self.model, at, turned, axes) - self.slack)
        at[:, :2] += (SIDE * slipped)[:, None] * axes[0]
        at[JAW] = contour(self.model, turned, pose, self.spacing).of(turned)
        at[JAW, :2] += self.rest @ axes
        return Carried(pose.to_pixels(at), at[:, 2], slipped > 0)

    def at(self, yaw: float, pitch: float) -> Pose:
        """The pose of the head turned to face elsewhere, in degrees."""
        return self.pose.facing(yaw, pitch, PIVOT)


def scaled(head: Head, factor: float) -> Head:
    """The same head in the photograph made larger by a factor."""
    pose = replace(head.pose, scale=head.pose.scale * factor, shift=(head.pose.shift + 0.5) * factor - 0.5)
    return replace(head, pose=pose)


def head_of(model: FaceModel, points: Array) -> Head:
    """The head whose points are [98, 2] pixels of the photograph."""
    found = fit(model, points)
    pose = found.pose
    axes = pose.upright()
    shape = model.shape(found.coefficients)
    missing = (points - pose.project(found.places.of(shape))) / [pose.scale, -pose.scale]
    misfit = float(np.linalg.norm(missing, axis=1).mean())
    turned = pose.turn(shape)
    slack = behind_middle(model, found.places.of(turned), turned, axes)
    held = [i for i in range(len(points)) if i not in WFLW98.groups["pupils"] and slack[i] == 0]
    vertices = bend(model, shape, found.places, held, missing[held] @ pose.rotation[:2])
    at = found.places.of(vertices)
    missing = (points - pose.project(at)) / [pose.scale, -pose.scale]
    turned = pose.turn(vertices)
    on_line = contour(model, turned, pose, found.spacing).of(turned)[:, :2]
    rest = ((points[JAW] - pose.shift) / [pose.scale, -pose.scale] - on_line) @ axes.T
    own = at + missing @ pose.rotation[:2]
    slack = behind_middle(model, pose.turn(own), turned, axes)
    return Head(model, pose, vertices, own, found.spacing, rest, slack, misfit)


def bend(model: FaceModel, shape: Array, places: Places, held: list[int], displacements: Array) -> Array:
    """Moves the points `held` by displacements [n, 3] and everything around them smoothly along.

    Interpolation by Wendland's radial function. Distances are those of a face with its mouth half open, so that the
    lips move apart from each other.
    """
    calm = model.mean + 0.5 * model.components[model.identities + JAW_OPEN]
    centres = places.of(calm)[held]
    own = _influence(centres, centres) + STIFFNESS * np.eye(len(held))
    return shape + _influence(calm, centres) @ np.linalg.solve(own, displacements)


def _influence(a: Array, b: Array) -> Array:
    """[A, 3], [B, 3] -> [A, B]: 1 at no distance, 0 from REACH on."""
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    distance = np.sqrt(np.maximum(squared, 0)) / REACH
    near: Array = np.maximum(0, 1 - distance) ** 4 * (4 * distance + 1)
    return near


def _rotation_vector(rotation: Array) -> Array:
    """[3] axis times angle in radians of a rotation by less than a half turn."""
    skew = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    sine, cosine = np.linalg.norm(skew) / 2, (np.trace(rotation) - 1) / 2
    return np.asarray(skew / (2 * max(float(sine), 1e-12)) * np.arctan2(sine, cosine))
