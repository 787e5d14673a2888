from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from train.pose_synthesis.rasterizer import rasterize

FACING = np.array([[0, 2, 1]], np.int32)
"""Counter-clockwise in the image, y being down."""


def corners(size: float = 3) -> NDArray[np.float64]:
    return np.array([[0.0, 0.0], [size, 0.0], [0.0, size]])


def test_a_triangle_covers_the_pixels_whose_centers_it_contains() -> None:
    covered = rasterize(corners(), np.zeros(3), FACING, (4, 4)).covered
    assert covered.astype(int).tolist() == [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]]


def test_a_triangle_seen_from_behind_is_not_drawn() -> None:
    assert not rasterize(corners(), np.zeros(3), FACING[:, ::-1].copy(), (4, 4)).covered.any()


def test_a_triangle_partly_outside_is_cut() -> None:
    assert not rasterize(corners() - 9, np.zeros(3), FACING, (4, 4)).covered.any()
    covered = rasterize(corners(9) - 2, np.zeros(3), FACING, (4, 4)).covered
    assert covered.sum() == 15  # x + y <= 5 of a 4 x 4 image


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_nearer_of_two_triangles_is_seen(order: list[int]) -> None:
    triangles = np.array([[0, 2, 1], [3, 5, 4]], np.int32)[order]
    points, depth = np.tile(corners(), (2, 1)), np.array([0, 0, 0, 1, 1, 1.0])
    raster = rasterize(points, depth, triangles, (4, 4))
    assert set(raster.triangle[raster.covered]) == {order.index(1)}


def test_values_are_interpolated_linearly() -> None:
    raster = rasterize(corners(), np.zeros(3), FACING, (4, 4))
    values = np.array([[10.0, 0.0], [40.0, 0.0], [10.0, 6.0]])  # 10 + 10 x, 2 y
    rows, columns = np.nonzero(raster.covered)
    assert raster.interpolate(values) == pytest.approx(np.stack([10 + 10 * columns, 2 * rows], axis=1), abs=1e-4)


def test_nothing_is_seen_of_no_triangles() -> None:
    raster = rasterize(corners(), np.zeros(3), np.empty((0, 3), np.int32), (4, 3))
    assert raster.covered.shape == (3, 4)
    assert not raster.covered.any()
