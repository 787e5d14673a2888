from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from landmarks.crop import Crop, compose, mirror
from landmarks.size import Size
from train.datasets.boxes import (
    Boxes,
    area_of,
    clipped,
    iou,
    overlap_of_smaller,
    size_of,
    transform_boxes,
    visible_share,
)

FACE = np.array([[10.0, 20.0, 30.0, 60.0]])
BOXES = np.array([[10.0, 20.0, 14.0, 29.0], [0.0, 0.0, 10.0, 10.0]])


def test_a_boxs_size_is_the_root_of_its_area() -> None:
    assert area_of(BOXES).tolist() == [36.0, 100.0]
    assert size_of(BOXES).tolist() == [6.0, 10.0]


def test_overlaps_of_each_box_with_each_other_one() -> None:
    # 5 x 10 of 100 + 100 - 50; the same box; none in common
    others = np.array([[5.0, 0.0, 15.0, 10.0], [0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
    assert iou(BOXES[1:], others).tolist() == [[pytest.approx(1 / 3), 1.0, 0.0]]
    assert iou(BOXES, others).shape == (2, 3)
    assert iou(BOXES[:0], others).shape == (0, 3)


def test_a_rotation_by_90_degrees_swaps_width_and_height() -> None:
    rotated = transform_boxes(Crop(20.0, 40.0, 100.0, Size.square(100), math.pi / 2).image_to_crop(), FACE)
    assert rotated[0].tolist() == pytest.approx([29.5, 39.5, 69.5, 59.5])


def test_a_rotation_by_45_degrees_bounds_the_ellipse() -> None:
    """Half-axes 10 and 20: sqrt((100 + 400) / 2) = 15.811 either way."""
    rotated = transform_boxes(Crop(20.0, 40.0, 101.0, Size.square(101), math.pi / 4).image_to_crop(), FACE)
    assert rotated[0].tolist() == pytest.approx([50 - 15.811, 50 - 15.811, 50 + 15.811, 50 + 15.811], abs=1e-3)


def test_a_mirrored_box() -> None:
    identity = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert transform_boxes(compose(mirror(100), identity), FACE)[0].tolist() == [69.0, 20.0, 89.0, 60.0]


def test_shares_and_overlaps() -> None:
    # pixels 0 to 19 are shown, edges -0.5 and 19.5: half of the box's width, nothing of its height
    assert visible_share(np.array([[9.5, 2.0, 29.5, 12.0], [30.0, 2.0, 40.0, 12.0]]), 20).tolist() == [0.5, 0.0]
    assert clipped(np.array([[9.5, 2.0, 29.5, 12.0]]), 20).tolist() == [[9.5, 2.0, 19.5, 12.0]]
    others = np.array([[20.0, 30.0, 25.0, 40.0], [30.0, 60.0, 50.0, 70.0], [20.0, 20.0, 40.0, 60.0]])
    assert overlap_of_smaller(FACE[0], others).tolist() == pytest.approx([1.0, 0.0, 0.5])


# ---------------------------------------------------------------- properties

boxes = arrays(np.float64, (3, 2, 2), elements=st.floats(0, 100)).map(
    lambda corners: np.concatenate([corners.min(axis=1), corners.max(axis=1) + 1], axis=1)
)


@given(boxes, boxes)
def test_overlaps_are_symmetric_and_at_most_one(some: Boxes, others: Boxes) -> None:
    overlaps = iou(some, others)
    assert overlaps == pytest.approx(iou(others, some).T)
    assert ((overlaps >= 0) & (overlaps <= 1 + 1e-12)).all()
    assert np.diag(iou(some, some)) == pytest.approx(np.ones(3))
    assert (overlap_of_smaller(some[0], others) >= overlaps[0] - 1e-12).all()


@given(boxes, st.integers(1, 120))
def test_a_box_is_visible_entirely_where_it_lies_on_the_image(some: Boxes, side: int) -> None:
    share = visible_share(some, side)
    assert ((share >= 0) & (share <= 1 + 1e-12)).all()
    inside = (some >= -0.5).all(axis=1) & (some <= side - 0.5).all(axis=1)
    assert share[inside] == pytest.approx(1)
    assert (share[~inside] < 1).all()


@given(boxes, st.floats(-50, 50), st.floats(-50, 50), st.floats(0.1, 10))
def test_boxes_move_and_scale_with_their_image(some: Boxes, x: float, y: float, scale: float) -> None:
    expected = some * scale + [x, y, x, y]
    assert transform_boxes(np.array([[scale, 0, x], [0, scale, y]]), some) == pytest.approx(expected)
