"""The pose of a head, for a distant camera (weak perspective: a scaled orthographic projection)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Pose:
    """Model -> camera by `rotation`, then to pixels by `scale` and `shift`, y down.

    rotation = Rz(roll) Rx(-pitch) Ry(yaw): the head is rotated about its own upright axis (yaw), seen from above or
    below (pitch), and the image is rolled.
    """

    rotation: Array
    """[3, 3] orthogonal, of determinant 1"""
    scale: float
    """pixels per centimetre"""
    shift: Array
    """[2] the pixel of the model's origin"""

    def rotate(self, vertices: Array) -> Array:
        """Model -> camera coordinates [..., 3], centimeters: x right, y up, z towards the camera."""
        rotated: Array = vertices @ self.rotation.T.astype(vertices.dtype)
        return rotated

    def to_pixels(self, camera: Array) -> Array:
        """Camera coordinates [..., 3] -> pixels [..., 2]."""
        pixels: Array = camera[..., :2] * np.array([self.scale, -self.scale]) + self.shift
        return pixels

    def project(self, vertices: Array) -> Array:
        """Model coordinates [..., 3] -> pixels [..., 2]."""
        return self.to_pixels(self.rotate(vertices))

    @property
    def angles(self) -> tuple[float, float, float]:
        """Yaw, pitch and roll in degrees. Yaw is positive when the face looks to the right of the image, pitch when it
        looks up, roll when the image is rotated anticlockwise.
        """
        r = self.rotation
        yaw = math.atan2(-r[2, 0], r[2, 2])
        pitch = math.asin(-max(-1.0, min(1.0, float(r[2, 1]))))
        roll = math.atan2(-r[0, 1], r[1, 1])
        return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)

    def with_angles(self, yaw: float, pitch: float, pivot: Array) -> Pose:
        """Rotated to another yaw and pitch, in degrees, about the point `pivot` [3] of the model."""
        rotated = replace(self, rotation=rotation(yaw, pitch, self.angles[2]))
        return replace(rotated, shift=self.shift + self.project(pivot) - rotated.project(pivot))

    def upright_axes(self) -> Array:
        """[2, 2] unit vectors in the camera's x and y: to the right of the upright head in the image, and its up."""
        up = self.rotation[:2, 1] / np.linalg.norm(self.rotation[:2, 1])
        return np.array([[up[1], -up[0]], up])


def rotation(yaw: float, pitch: float, roll: float) -> Array:
    """[3, 3] from angles in degrees, as defined by `Pose.angles`."""
    y, p, r = np.radians([yaw, -pitch, roll])
    about_y = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    about_z = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x @ about_y)


def rotation_from_vector(vector: Array) -> Array:
    """Axis times angle in radians [..., 3] -> rotations [..., 3, 3] (Rodrigues' formula)."""
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(vector, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*vector.shape, 3)
    small = np.maximum(angle, 1e-12)
    result: Array = np.eye(3) + np.sin(angle) / small * cross + (1 - np.cos(angle)) / small**2 * (cross @ cross)
    return result


def align(vertices: Array, points: Array) -> Pose:
    """An approximate pose that projects vertices [N, 3] to pixels [N, 2]: the affine camera of least squares, made
    orthogonal.
    """
    flipped = points * [1, -1]
    affine = np.linalg.lstsq(np.c_[vertices, np.ones(len(vertices))], flipped, rcond=None)[0]
    u, lengths, vt = np.linalg.svd(affine[:3].T, full_matrices=False)
    rows = u @ vt
    return Pose(np.vstack([rows, np.cross(rows[0], rows[1])]), float(lengths.mean()), affine[3] * [1, -1])
