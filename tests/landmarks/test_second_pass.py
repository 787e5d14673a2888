from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from landmarks.codec import Decoded
from landmarks.crop import Crop, Matrix, transform_points
from landmarks.layout import WFLW98
from landmarks.metadata import PointsCrop
from landmarks.second_pass import average_passes, counts, crop_by_points, differs, roll_of, second_crops
from landmarks.size import Size

SIZE = Size.square(256)
RULE = PointsCrop(scale=1.5, rise=0.1)


def upright_face() -> NDArray[np.float64]:
    """Points in a box from (-50, -40) to (50, 60), the eyes' middle at (0, -20) and the lips' at (0, 30)."""
    points = np.zeros((98, 2))
    points[list(WFLW98.groups["right_eye"])] = [-30, -20]
    points[list(WFLW98.groups["left_eye"])] = [30, -20]
    points[list(WFLW98.groups["outer_lips"])] = [0, 30]
    points[0], points[32], points[16], points[35] = [-50, 0], [50, 0], [0, 60], [0, -40]
    return points


def moved(points: NDArray[np.float64], roll: float, zoom: float, x: float, y: float) -> NDArray[np.float64]:
    """Rolled clockwise on screen, enlarged and moved."""
    c, s = math.cos(roll), math.sin(roll)
    result: NDArray[np.float64] = zoom * points @ np.array([[c, s], [-s, c]]) + [x, y]
    return result


def test_the_crop_of_an_upright_face() -> None:
    crop = crop_by_points(upright_face(), RULE, WFLW98, SIZE)
    assert crop is not None
    # the box is 100 wide and high, its center (0, 10); the crop of side 150 lies a tenth of that higher
    assert (crop.center_x, crop.center_y, crop.side, crop.roll) == pytest.approx((0, -5, 150, 0))
    assert crop.size == SIZE


def test_the_rectangular_crop_of_an_upright_face() -> None:
    crop = crop_by_points(upright_face(), RULE, WFLW98, Size(width=192, height=256))
    assert crop is not None
    # the points' box, 100 wide and high, lies in a rectangle of 100 x 133.3; its longer side, times 1.5, is 200
    assert (crop.center_x, crop.center_y, crop.side, crop.roll) == pytest.approx((0, 10 - 0.1 * 200, 200, 0))


@given(st.floats(-3.1, 3.1), st.floats(0.1, 20), st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_a_face_is_in_its_crop_as_if_it_were_upright(roll: float, zoom: float, x: float, y: float) -> None:
    points = moved(upright_face(), roll, zoom, x, y)
    crop, plain = crop_by_points(points, RULE, WFLW98, SIZE), crop_by_points(upright_face(), RULE, WFLW98, SIZE)
    assert crop is not None
    assert plain is not None
    expected = transform_points(plain.image_to_crop(), upright_face())
    assert transform_points(crop.image_to_crop(), points) == pytest.approx(expected, abs=1e-3)


def test_the_head_of_a_face_that_leans_to_the_right_of_the_screen_is_rolled_clockwise() -> None:
    points = upright_face()
    points[list(WFLW98.groups["right_eye"] + WFLW98.groups["left_eye"])] += [50, 0]
    assert roll_of(points, WFLW98) == pytest.approx(math.pi / 4)


def test_a_layout_that_does_not_tell_eyes_from_mouth_has_no_roll() -> None:
    assert roll_of(moved(upright_face(), 1.0, 1, 0, 0), replace(WFLW98, upright=None)) == 0


@pytest.mark.parametrize("points", [np.zeros((98, 2)), np.full((98, 2), np.nan)])
def test_points_that_are_no_face_get_no_crop(points: NDArray[np.float64]) -> None:
    assert crop_by_points(points, RULE, WFLW98, SIZE) is None


FIRST = Crop(100, 100, 200, SIZE)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (FIRST, False),
        (replace(FIRST, roll=math.radians(9.9)), False),
        (replace(FIRST, roll=math.radians(10.1)), True),
        (replace(FIRST, roll=math.radians(-10.1)), True),
        (replace(FIRST, side=219), False),
        (replace(FIRST, side=221), True),
        (replace(FIRST, side=179), True),
        (replace(FIRST, center_x=109), False),
        (replace(FIRST, center_x=106, center_y=92), False),
        (replace(FIRST, center_x=107, center_y=92), True),
    ],
)
def test_crops_differ_by_roll_size_or_place(second: Crop, expected: bool) -> None:
    assert differs(FIRST, second) is expected


def test_half_a_turn_is_no_roll_of_more_than_one() -> None:
    """179 degrees and -179 degrees are two degrees apart."""
    assert not differs(replace(FIRST, roll=math.radians(179)), replace(FIRST, roll=math.radians(-179)))


def test_which_faces_get_a_second_pass() -> None:
    still, rolled, nothing = upright_face(), moved(upright_face(), 0.5, 1, 300, 0), np.zeros((98, 2))
    first = [
        Crop(0, -5, 150, SIZE),
        Crop(300, -5, 150, SIZE),
        Crop(0, 0, 150, SIZE),
    ]
    found = {
        mode: set(second_crops([still, rolled, nothing], first, RULE, WFLW98, mode))
        for mode in ("never", "auto", "always")
    }
    assert found == {"never": set(), "auto": {1}, "always": {0, 1}}


def answer(x: float, variance: float, score: float = 0.5, visibility: tuple[float, ...] = ()) -> Decoded:
    """An answer of one point at (x, 0)."""
    return Decoded(
        np.array([[x, 0.0]], np.float32),
        np.array([score], np.float32),
        (variance * np.eye(2, dtype=np.float32))[None],
        np.array(visibility, np.float32),
    )


SAME: Matrix = np.array([[1.0, 0, 0], [0, 1, 0]])


def test_a_point_that_is_less_certain_weighs_less() -> None:
    mean = average_passes(answer(0, 3, 0.2, (0.1,)), answer(8, 1, 0.6, (0.9,)), SAME)
    assert mean.points.tolist() == [[6, 0]]
    assert mean.covariances == pytest.approx(0.94 * np.array([[[1.5, 0], [0, 1.5]]]))
    assert mean.scores == pytest.approx([0.5])
    assert mean.visibility == pytest.approx([0.7])
    assert {values.dtype for values in mean} == {np.dtype(np.float32)}


def test_the_first_answer_is_moved_into_the_second_crop() -> None:
    """The second crop shows everything twice as large and ten pixels further right: variances are four times these."""
    mean = average_passes(answer(1, 1), answer(14, 4), np.array([[2.0, 0, 10], [0, 2, 0]]))
    assert mean.points.tolist() == [[13, 0]]
    assert mean.covariances == pytest.approx(0.94 * np.array([[[4, 0], [0, 4]]]))


def test_points_without_variance_weigh_the_same() -> None:
    assert average_passes(answer(0, 0), answer(4, 0), SAME).points.tolist() == [[2, 0]]


def test_a_network_without_visibility_has_none_afterwards() -> None:
    assert average_passes(answer(0, 1), answer(4, 1), SAME).visibility.shape == (0,)


@pytest.mark.parametrize(("first", "second", "expected"), [(0.9, 0.5, True), (0.9, 0.4, False), (0.3, 0.4, True)])
def test_a_second_answer_that_missed_the_face_does_not_count(first: float, second: float, expected: bool) -> None:
    assert counts(first, second) is expected
