from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from landmarks.crop import Crop, compose, invert, mirror, scaling, transform_covariances, transform_points, warp

crops = st.builds(
    Crop,
    center_x=st.floats(-500, 5000),
    center_y=st.floats(-500, 5000),
    side=st.floats(4, 4000),
    size=st.sampled_from([64, 128, 256]),
    roll=st.floats(-math.pi, math.pi),
)
points = st.lists(st.tuples(st.floats(-5000, 5000), st.floats(-5000, 5000)), min_size=1, max_size=5)


def test_a_crop_by_hand() -> None:
    # the box spans pixels 10..30 and 20..60: centre (20, 40), longer side 40, times 1.6 = 64 image pixels
    crop = Crop.around([10, 20, 30, 60], scale=1.6, size=256)
    assert crop == Crop(20.0, 40.0, 64.0, 256)
    # 4 crop pixels per image pixel; the centre of the square lies between crop pixels 127 and 128
    assert crop.image_to_crop().tolist() == [[4.0, 0.0, 47.5], [0.0, 4.0, -32.5]]
    assert transform_points(crop.image_to_crop(), [20, 40]).tolist() == [127.5, 127.5]


def test_a_crop_of_the_same_scale_shifts_by_whole_pixels() -> None:
    # pixels 2..5 of the image become pixels 0..3 of the crop
    crop = Crop.around([1.5, 1.5, 5.5, 5.5], scale=1.0, size=4)
    assert crop.image_to_crop().tolist() == [[1.0, 0.0, -2.0], [0.0, 1.0, -2.0]]
    image = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    assert np.array_equal(warp(image, crop.image_to_crop(), 4), image[2:6, 2:6])


def test_scaling_keeps_the_outer_corner_of_the_first_pixel() -> None:
    assert scaling(4.0).tolist() == [[4.0, 0.0, 1.5], [0.0, 4.0, 1.5]]
    assert scaling(0.5).tolist() == [[0.5, 0.0, -0.25], [0.0, 0.5, -0.25]]
    assert transform_points(scaling(3.0), [-0.5, -0.5]).tolist() == [-0.5, -0.5]


def test_roll_turns_the_square_clockwise_on_screen() -> None:
    # the square's right edge now looks down: what lies below the centre in the image is right of it in the crop
    crop = Crop(100.0, 100.0, 256.0, 256, roll=math.pi / 2)
    assert_allclose(transform_points(crop.image_to_crop(), [100, 110]), [137.5, 127.5], atol=1e-9)


@given(crops, points)
def test_image_to_crop_to_image_is_the_identity(crop: Crop, at: list[tuple[float, float]]) -> None:
    back = transform_points(crop.crop_to_image(), transform_points(crop.image_to_crop(), at))
    assert_allclose(back, at, atol=1e-6)


@given(crops, points)
def test_compose_applies_the_inner_map_first(crop: Crop, at: list[tuple[float, float]]) -> None:
    one_by_one = transform_points(mirror(crop.size), transform_points(crop.image_to_crop(), at))
    assert_allclose(transform_points(compose(mirror(crop.size), crop.image_to_crop()), at), one_by_one, atol=1e-6)


@given(crops)
def test_the_inverse_of_the_inverse_is_the_map(crop: Crop) -> None:
    matrix = crop.image_to_crop()
    assert_allclose(invert(invert(matrix)), matrix, rtol=1e-6, atol=1e-6)


def test_mirror_by_hand() -> None:
    assert transform_points(mirror(256), [[0, 7], [255, 7]]).tolist() == [[255, 7], [0, 7]]


def test_covariances_scale_with_the_square_and_turn() -> None:
    quarter_turn = Crop(0, 0, 128.0, 256, roll=math.pi / 2).image_to_crop()  # scale 2
    assert_allclose(transform_covariances(quarter_turn, [[1, 0], [0, 9]]), [[36, 0], [0, 4]], atol=1e-9)


@pytest.mark.parametrize(
    "box",
    [[0, 0, 0, 10], [0, 10, 5, 10], [5, 0, 4, 10], [0, 0, math.nan, 10], [0, 0, math.inf, 10], [-math.inf, 0, 1, 1]],
)
def test_boxes_that_are_none_are_refused(box: list[float]) -> None:
    with pytest.raises(ValueError, match="x1 < x2"):
        Crop.around(box, 1.0, 256)


def smooth_picture(size: int) -> np.ndarray:
    """A picture of slow waves whose value at any real position is known."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float64)
    return np.repeat(wave(x, y)[..., None], 3, axis=2).round().astype(np.uint8)


def wave(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 128 + 60 * np.sin(x / 40) + 60 * np.cos(y / 30)


@pytest.mark.parametrize("side", [150.0, 256.0, 300.0, 511.0, 700.0, 1100.0])
@pytest.mark.parametrize("roll", [0.0, 0.4])
def test_warp_puts_every_pixel_where_the_matrix_says(side: float, roll: float) -> None:
    """Halving before the warp must not shift the picture: the shift that explains the residue best is none."""
    crop = Crop(801.3, 799.1, side, 128, roll)
    shown = warp(smooth_picture(1600), crop.image_to_crop(), 128)[..., 0].astype(np.float64)
    y, x = np.mgrid[0:128, 0:128].astype(np.float64)
    at = transform_points(crop.crop_to_image(), np.stack([x, y], axis=-1))
    expected = wave(at[..., 0], at[..., 1])
    slopes = np.stack([*(slope.ravel() for slope in np.gradient(expected)), np.ones(128 * 128)], axis=1)
    shift_y, shift_x, brighter = np.linalg.lstsq(slopes, (shown - expected).ravel(), rcond=None)[0]
    assert max(abs(shift_x), abs(shift_y)) < 0.03  # crop pixels
    assert abs(brighter) < 1.0  # bytes round halves up, at every halving


def test_warp_does_not_alias() -> None:
    """One-pixel stripes shown eight times smaller are grey, not stripes."""
    image = np.zeros((1024, 1024, 3), np.uint8)
    image[:, ::2] = 255
    shown = warp(image, Crop(511.5, 511.5, 1024.0, 128).image_to_crop(), 128)
    assert np.abs(shown[2:-2, 2:-2].astype(int) - 128).max() <= 1


def test_beyond_the_image_is_black() -> None:
    image = np.full((100, 101, 3), 200, np.uint8)
    shown = warp(image, Crop(0.0, 0.0, 400.0, 64).image_to_crop(), 64)
    assert shown[:31].max() == 0
    assert shown[:, :31].max() == 0
    assert shown[34:46, 34:46].min() == 200


def test_a_crop_far_outside_the_image_is_black() -> None:
    image = np.full((50, 50, 3), 200, np.uint8)
    assert warp(image, Crop(5000.0, -5000.0, 100.0, 64).image_to_crop(), 64).max() == 0


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.builds(
        Crop,
        center_x=st.floats(-50, 80),
        center_y=st.floats(-50, 80),
        side=st.floats(1, 3000),
        size=st.just(32),
        roll=st.floats(-3, 3),
    ),
)
def test_warp_takes_any_picture_and_crop(height: int, width: int, crop: Crop) -> None:
    image = np.full((height, width, 3), 255, np.uint8)
    shown = warp(image, crop.image_to_crop(), 32)
    assert shown.shape == (32, 32, 3)
    assert shown.dtype == np.uint8
