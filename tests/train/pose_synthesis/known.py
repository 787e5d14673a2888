"""Heads of known shape and pose: their points, and an image of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.pose_synthesis.head import PIVOT
from train.pose_synthesis.model import FaceModel
from train.pose_synthesis.pose import Pose, rotation
from train.pose_synthesis.rasterizer import rasterize
from train.pose_synthesis.silhouette import JAW, SIDE, Spacing, all_points, behind_midline, contour_points

Array = NDArray[np.floating[Any]]

EVEN = Spacing((0.5, 33.5), np.r_[np.linspace(0, 1, 17), np.linspace(1, 0, 17)[1:]])
"""The contour from beside the eyes, evenly spaced."""
INTER_OCULAR = 9.1
"""Centimeters between the outer corners of the mean face's eyes."""


@dataclass(frozen=True, eq=False)
class KnownHead:
    model: FaceModel
    vertices: Array
    pose: Pose

    @classmethod
    def drawn(
        cls, model: FaceModel, seed: int | None, angles: tuple[float, float, float], scale: float = 10.0
    ) -> KnownHead:
        """The mean face (None), or one of random identity and expression; `scale` pixels per centimeter."""
        coefficients = np.zeros(len(model.components))
        if seed is not None:
            rng = np.random.default_rng(seed)
            coefficients[: model.identities] = 0.8 * rng.normal(size=model.identities)
            shown = model.identities + rng.choice(len(coefficients) - model.identities, 6, replace=False)
            coefficients[shown] = rng.uniform(0, 0.6, 6)
        return cls(model, model.shape(coefficients), Pose(rotation(*angles), scale, np.array([19.0, 20.0]) * scale))

    def pose_at(self, yaw: float, pitch: float) -> Pose:
        return self.pose.with_angles(yaw, pitch, PIVOT)

    def points(self, pose: Pose) -> Array:
        """[98, 2] the truth in any pose."""
        camera, axes = pose.rotate(self.vertices), pose.upright_axes()
        at = all_points(self.model, contour_points(self.model, camera, pose, EVEN)).interpolate(camera)
        at[:, :2] += (SIDE * behind_midline(self.model, at, camera, axes))[:, None] * axes[0]
        return pose.to_pixels(at)

    def image(self) -> NDArray[np.uint8]:
        """RGB: smooth stripes on the skin; red on the subject's right half, blue on the left; a gray background."""
        x, y, _ = self.model.mean.T
        stripes = 60 * np.sin(2 * y) * np.cos(x)
        colors = np.stack([np.where(x < 0, 190, 40), 110 + stripes, np.where(x < 0, 40, 190)], axis=1)
        size = (round(38 * self.pose.scale), round(40 * self.pose.scale))
        image = np.full((size[1], size[0], 3), 90, np.uint8)
        camera = self.pose.rotate(self.vertices)
        raster = rasterize(self.pose.to_pixels(camera), camera[:, 2], self.model.triangles, size)
        image[raster.covered] = raster.interpolate(colors).round().astype(np.uint8)
        return image


def error(found: Array, truth: Array) -> Array:
    """[P] in percent of the inter-ocular distance of a frontal face of 10 pixels per centimeter."""
    return 100 * np.linalg.norm(found - truth, axis=1) / (10 * INTER_OCULAR)


def far_jaw(side: int) -> list[int]:
    """Contour points of the cheek on one side (-1: right), from the eye to the corner of the jaw."""
    return JAW[1:9] if side < 0 else JAW[24:32]
