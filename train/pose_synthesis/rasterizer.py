"""A z-buffer: the nearest triangle of each pixel, and the position within it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

NO_TRIANGLE = -1
"""The triangle index of a pixel that no triangle covers."""


@dataclass(frozen=True, eq=False)
class Raster:
    """A mesh as seen by a camera."""

    triangle: NDArray[np.int32]
    """[H, W] the index of the nearest triangle, NO_TRIANGLE where there is none"""
    weights: NDArray[np.float32]
    """[H, W, 3] barycentric weights of its corners"""
    triangles: NDArray[np.int32]
    """[T, 3] the mesh"""

    @property
    def covered(self) -> NDArray[np.bool_]:
        """[H, W] whether a triangle covers the pixel."""
        return np.asarray(self.triangle != NO_TRIANGLE)

    def interpolate(self, values: Array) -> NDArray[np.float32]:
        """Values at the vertices [V, C] -> at the covered pixels [N, C], in the row-major order of `covered`."""
        inside = self.covered
        corners = values[self.triangles[self.triangle[inside]]].astype(np.float32)
        interpolated: NDArray[np.float32] = np.einsum("nk,nkc->nc", self.weights[inside], corners)
        return interpolated


def rasterize(points: Array, depth: Array, triangles: NDArray[np.int32], size: tuple[int, int]) -> Raster:
    """Draws the triangles [T, 3] that face the camera; the nearest (largest depth) wins.

    points [V, 2] are pixels, (0, 0) the center of the top-left one, y down; depth [V] grows towards the camera. A
    triangle faces the camera when its corners run counter-clockwise in the image. size is (width, height).
    """
    width, height = size
    corners = points[triangles].astype(np.float32)
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    low = np.ceil(corners.min(axis=1)).clip(0).astype(np.int32)
    high = np.floor(corners.max(axis=1)).clip(-1, [width - 1, height - 1]).astype(np.int32)
    extent = (high - low + 1).clip(0)
    count = extent.prod(axis=1) * (area < 0)
    owner = np.repeat(np.arange(len(triangles), dtype=np.int32), count)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    row, column = np.divmod(offset.astype(np.int32), extent[owner, 0])
    x, y = low[owner, 0] + column, low[owner, 1] + row
    # barycentric weights are linear in x and y: three numbers each per triangle
    safe = np.where(area < 0, area, -1)
    b_x, b_y, c_x, c_y = ac[:, 1] / safe, -ac[:, 0] / safe, -ab[:, 1] / safe, ab[:, 0] / safe
    d_x, d_y = x - a[owner, 0], y - a[owner, 1]
    b = d_x * b_x[owner] + d_y * b_y[owner]
    c = d_x * c_x[owner] + d_y * c_y[owner]
    inside = (b >= -1e-4) & (c >= -1e-4) & (b + c <= 1 + 1e-4)
    owner, b, c, pixel = owner[inside], b[inside], c[inside], (y * width + x)[inside]
    z = depth[triangles].astype(np.float32)
    near = z[owner, 0] * (1 - b - c) + z[owner, 1] * b + z[owner, 2] * c
    # where a pixel repeats, the last assignment stays: the nearest
    order = np.argsort(near, kind="stable")
    pixel, owner, b, c = pixel[order], owner[order], b[order], c[order]
    nearest = np.full(width * height, NO_TRIANGLE, np.int32)
    weights = np.zeros((width * height, 3), np.float32)
    nearest[pixel] = owner
    weights[pixel] = np.stack([1 - b - c, b, c], axis=1)
    return Raster(nearest.reshape(height, width), weights.reshape(height, width, 3), triangles)
