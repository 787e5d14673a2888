"""Where a head is and how it is turned, for a camera far away (weak perspective: a scaled orthographic projection)."""

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

    rotation = Rz(roll) Rx(-pitch) Ry(yaw): the head turns about its own upright axis, the camera sees it from above or
    below, and the picture is rolled.
    """

    rotation: Array
    """[3, 3]"""
    scale: float
    """pixels per centimetre"""
    shift: Array
    """[2] the pixel where the model's origin lies"""

    def turn(self, vertices: Array) -> Array:
        """[..., 3] model -> camera, centimetres: x right, y up, z towards the camera."""
        turned: Array = vertices @ self.rotation.T.astype(vertices.dtype)
        return turned

    def to_pixels(self, turned: Array) -> Array:
        """[..., 3] camera -> [..., 2] pixels."""
        pixels: Array = turned[..., :2] * np.array([self.scale, -self.scale]) + self.shift
        return pixels

    def project(self, vertices: Array) -> Array:
        """[..., 3] model -> [..., 2] pixels."""
        return self.to_pixels(self.turn(vertices))

    @property
    def angles(self) -> tuple[float, float, float]:
        """Yaw, pitch, roll in degrees. Yaw is positive when the face looks to the picture's right, pitch when it looks
        up, roll when the picture is turned anticlockwise.
        """
        r = self.rotation
        yaw = math.atan2(-r[2, 0], r[2, 2])
        pitch = math.asin(-max(-1.0, min(1.0, float(r[2, 1]))))
        roll = math.atan2(-r[0, 1], r[1, 1])
        return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)

    def facing(self, yaw: float, pitch: float, pivot: Array) -> Pose:
        """Turned to another yaw and pitch, in degrees; the model's place `pivot` [3] stays where it is."""
        turned = replace(self, rotation=rotation(yaw, pitch, self.angles[2]))
        return replace(turned, shift=self.shift + self.project(pivot) - turned.project(pivot))

    def upright(self) -> Array:
        """[2, 2] unit vectors in the camera's x and y: the head's right-hand side in the picture, and its up."""
        up = self.rotation[:2, 1] / np.linalg.norm(self.rotation[:2, 1])
        return np.array([[up[1], -up[0]], up])


def rotation(yaw: float, pitch: float, roll: float) -> Array:
    """[3, 3] from degrees, as `Pose.angles` means them."""
    y, p, r = np.radians([yaw, -pitch, roll])
    about_y = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    about_z = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x @ about_y)


def about(vector: Array) -> Array:
    """[..., 3] axis times angle in radians -> [..., 3, 3] rotations (Rodrigues' formula)."""
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(vector, -1, 0)
    none = np.zeros_like(x)
    cross = np.stack([none, -z, y, z, none, -x, -y, x, none], axis=-1).reshape(*vector.shape, 3)
    small = np.maximum(angle, 1e-12)
    turned: Array = np.eye(3) + np.sin(angle) / small * cross + (1 - np.cos(angle)) / small**2 * (cross @ cross)
    return turned


def align(vertices: Array, points: Array) -> Pose:
    """The pose that brings vertices [N, 3] roughly to pixels [N, 2]: the affine camera closest in the squares, made
    orthogonal.
    """
    flipped = points * [1, -1]
    affine = np.linalg.lstsq(np.c_[vertices, np.ones(len(vertices))], flipped, rcond=None)[0]
    u, lengths, vt = np.linalg.svd(affine[:3].T, full_matrices=False)
    rows = u @ vt
    return Pose(np.vstack([rows, np.cross(rows[0], rows[1])]), float(lengths.mean()), affine[3] * [1, -1])
