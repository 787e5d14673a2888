from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from landmarks.crop import (
    Crop,
    _halve,
    _needed_part,
    compose,
    invert,
    mirror,
    scaling,
    transform_covariances,
    transform_points,
    warp,
)
from landmarks.size import Size

sizes = st.builds(Size, st.sampled_from([48, 64, 256]), st.sampled_from([64, 128]))
crops = st.builds(
    Crop,
    center_x=st.floats(-500, 5000),
    center_y=st.floats(-500, 5000),
    side=st.floats(4, 4000),
    size=sizes,
    roll=st.floats(-math.pi, math.pi),
)
points = st.lists(st.tuples(st.floats(-5000, 5000), st.floats(-5000, 5000)), min_size=1, max_size=5)


def test_a_crop_by_hand() -> None:
    # the box spans pixels 10..30 and 20..60: centre (20, 40), longer side 40, times 1.6 = 64 image pixels
    crop = Crop.around([10, 20, 30, 60], scale=1.6, size=Size.square(256))
    assert crop == Crop(20.0, 40.0, 64.0, Size.square(256))
    # 4 crop pixels per image pixel; the centre of the square lies between crop pixels 127 and 128
    assert crop.image_to_crop().tolist() == [[4.0, 0.0, 47.5], [0.0, 4.0, -32.5]]
    assert transform_points(crop.image_to_crop(), [20, 40]).tolist() == [127.5, 127.5]


def test_a_crop_around_a_box_has_the_roll_asked_for() -> None:
    size = Size.square(256)
    assert Crop.around([10, 20, 30, 60], scale=1.6, size=size, roll=0.25) == Crop(20.0, 40.0, 64.0, size, roll=0.25)


UPRIGHT = Size(width=192, height=256)


@pytest.mark.parametrize(
    ("box", "side"),
    [
        ([10, 20, 40, 60], 40.0),  # 30 x 40 has the shape of 192 x 256
        ([20, 20, 30, 60], 40.0),  # as high, but narrower: made wider
        ([10, 35, 40, 45], 40.0),  # as wide, but lower: made higher
        ([-5, 20, 55, 60], 80.0),  # 60 wide: 60 x 80
    ],
)
def test_a_box_is_extended_to_the_shape_of_the_crop(box: list[float], side: float) -> None:
    crop = Crop.around(box, scale=1.25, size=UPRIGHT)
    assert crop == Crop(25.0, 40.0, 1.25 * side, UPRIGHT)
    # the same scale on both axes, and the center in the middle of either
    assert crop.image_to_crop()[:, :2].tolist() == [[crop.scale, 0.0], [0.0, crop.scale]]
    assert crop.scale == 256 / (1.25 * side)
    assert transform_points(crop.image_to_crop(), [25, 40]).tolist() == [95.5, 127.5]


def test_a_crop_that_is_wider_than_high() -> None:
    # 40 high at the shape of 256 x 192: 40 * 4 / 3 wide
    assert Crop.around([10, 20, 30, 60], 1.0, Size(width=256, height=192)).side == pytest.approx(160 / 3)


boxes = st.tuples(st.floats(-500, 500), st.floats(-500, 500), st.floats(1, 400), st.floats(1, 400))


@given(boxes, sizes)
def test_a_crop_of_scale_1_is_the_smallest_that_holds_the_box(
    box: tuple[float, float, float, float], size: Size
) -> None:
    x, y, width, height = box
    crop = Crop.around([x, y, x + width, y + height], 1.0, size)
    # the crop reaches from -0.5 to its size less 0.5
    corners = transform_points(crop.image_to_crop(), [[x, y], [x + width, y + height]]) + 0.5
    margins = np.concatenate([corners[0], np.array(size) - corners[1]])
    assert_allclose(margins[:2], margins[2:], atol=1e-6)
    assert margins.min() == pytest.approx(0, abs=1e-6)


def test_a_box_of_bytes_does_not_overflow() -> None:
    box, size = np.array([100, 180, 200, 240], np.uint8), Size.square(64)
    assert Crop.around(box, scale=1.0, size=size) == Crop(150.0, 210.0, 100.0, size)


def test_a_crop_of_the_same_scale_shifts_by_whole_pixels() -> None:
    # pixels 2..5 of the image become pixels 0..3 of the crop
    crop = Crop.around([1.5, 1.5, 5.5, 5.5], scale=1.0, size=Size.square(4))
    assert crop.image_to_crop().tolist() == [[1.0, 0.0, -2.0], [0.0, 1.0, -2.0]]
    image = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    assert np.array_equal(warp(image, crop.image_to_crop(), Size.square(4)), image[2:6, 2:6])


def test_a_rectangular_crop_of_the_same_scale_shifts_by_whole_pixels() -> None:
    # columns 2..5 and rows 1..6 of the image
    crop = Crop.around([1.5, 0.5, 5.5, 6.5], scale=1.0, size=Size(width=4, height=6))
    image = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    assert np.array_equal(warp(image, crop.image_to_crop(), crop.size), image[1:7, 2:6])


def test_scaling_keeps_the_outer_corner_of_the_first_pixel() -> None:
    assert scaling(4.0).tolist() == [[4.0, 0.0, 1.5], [0.0, 4.0, 1.5]]
    assert scaling(0.5).tolist() == [[0.5, 0.0, -0.25], [0.0, 0.5, -0.25]]
    assert transform_points(scaling(3.0), [-0.5, -0.5]).tolist() == [-0.5, -0.5]


def test_roll_turns_the_square_clockwise_on_screen() -> None:
    # the square's right edge now looks down: what lies below the centre in the image is right of it in the crop
    crop = Crop(100.0, 100.0, 256.0, Size.square(256), roll=math.pi / 2)
    assert_allclose(transform_points(crop.image_to_crop(), [100, 110]), [137.5, 127.5], atol=1e-9)


@given(crops, points)
def test_image_to_crop_to_image_is_the_identity(crop: Crop, at: list[tuple[float, float]]) -> None:
    back = transform_points(crop.crop_to_image(), transform_points(crop.image_to_crop(), at))
    assert_allclose(back, at, atol=1e-6)


@given(crops, points)
def test_compose_applies_the_inner_map_first(crop: Crop, at: list[tuple[float, float]]) -> None:
    one_by_one = transform_points(mirror(crop.size.width), transform_points(crop.image_to_crop(), at))
    assert_allclose(transform_points(compose(mirror(crop.size.width), crop.image_to_crop()), at), one_by_one, atol=1e-6)


@given(crops)
def test_the_inverse_of_the_inverse_is_the_map(crop: Crop) -> None:
    matrix = crop.image_to_crop()
    assert_allclose(invert(invert(matrix)), matrix, rtol=1e-6, atol=1e-6)


def test_mirror_by_hand() -> None:
    assert transform_points(mirror(256), [[0, 7], [255, 7]]).tolist() == [[255, 7], [0, 7]]


def test_covariances_scale_with_the_square_and_turn() -> None:
    quarter_turn = Crop(0, 0, 128.0, Size.square(256), roll=math.pi / 2).image_to_crop()  # scale 2
    assert_allclose(transform_covariances(quarter_turn, [[1, 0], [0, 9]]), [[36, 0], [0, 4]], atol=1e-9)


@pytest.mark.parametrize(
    "box",
    [[0, 0, 0, 10], [0, 10, 5, 10], [5, 0, 4, 10], [0, 0, math.nan, 10], [0, 0, math.inf, 10], [-math.inf, 0, 1, 1]],
)
def test_boxes_that_are_none_are_refused(box: list[float]) -> None:
    with pytest.raises(ValueError, match="x1 < x2"):
        Crop.around(box, 1.0, Size.square(256))


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
    crop = Crop(801.3, 799.1, side, Size.square(128), roll)
    shown = warp(smooth_picture(1600), crop.image_to_crop(), Size.square(128))[..., 0].astype(np.float64)
    y, x = np.mgrid[0:128, 0:128].astype(np.float64)
    at = transform_points(crop.crop_to_image(), np.stack([x, y], axis=-1))
    expected = wave(at[..., 0], at[..., 1])
    slopes = np.stack([*(slope.ravel() for slope in np.gradient(expected)), np.ones(128 * 128)], axis=1)
    shift_y, shift_x, brighter = np.linalg.lstsq(slopes, (shown - expected).ravel(), rcond=None)[0]
    assert max(abs(shift_x), abs(shift_y)) < 0.03  # crop pixels
    assert abs(brighter) < 1.0  # bytes round halves up, at every halving


@given(
    width=st.sampled_from([1, 2, 4]),
    factor=st.just(1.0) | st.floats(1.001, 3.0),
    center_x=st.floats(250, 262),
    size=st.sampled_from([16, 17]),
    transposed=st.booleans(),
)
@example(width=1, factor=1.0, center_x=255.5, size=16, transposed=False)
@example(width=1, factor=1.2, center_x=255.5, size=16, transposed=False)
def test_stripes_shown_at_half_their_width_or_less_are_grey(
    width: int, factor: float, center_x: float, size: int, transposed: bool
) -> None:
    """A crop pixel at least as wide as a black and a white stripe shows their mean, wherever it lies on them."""
    columns = np.arange(512) // width % 2 * 255
    image = np.broadcast_to(columns[None, :, None], (512, 512, 3)).astype(np.uint8)
    crop = Crop(center_x, center_x, 2 * width * factor * size, Size.square(size))
    shown = warp(
        np.ascontiguousarray(image.swapaxes(0, 1)) if transposed else image, crop.image_to_crop(), Size.square(size)
    )
    assert_array_equal(shown, np.full((size, size, 3), 128))


@given(
    arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=24)),
    st.builds(
        Crop,
        center_x=st.floats(-4, 28),
        center_y=st.floats(-4, 28),
        side=st.floats(1, 15),
        size=st.just(Size.square(8)),
        roll=st.floats(-math.pi, math.pi),
    ),
)
def test_a_crop_shown_larger_or_little_smaller_is_one_bilinear_warp(image: NDArray[np.uint8], crop: Crop) -> None:
    """No pixel that the crop needs is left out of the part that is read."""
    image = np.repeat(image[..., None], 3, axis=2)
    expected = cv2.warpAffine(image, crop.image_to_crop(), (8, 8), flags=cv2.INTER_LINEAR)
    # OpenCV rounds coordinates to 1/32 pixel, and may round those of a part of the image to the next one
    assert_allclose(warp(image, crop.image_to_crop(), Size.square(8)).astype(int), expected.astype(int), atol=17)


WHITE = np.full((1200, 1200, 3), 255, np.uint8)


@given(
    st.builds(
        Crop,
        center_x=st.floats(580, 620),
        center_y=st.floats(580, 620),
        side=st.floats(4, 700),
        size=st.builds(Size, st.sampled_from([9, 16, 17]), st.sampled_from([16, 17])),
        roll=st.floats(-math.pi, math.pi),
    )
)
def test_a_crop_within_a_white_image_is_white(crop: Crop) -> None:
    """Nothing black from beyond the part that is read gets in, however often it is halved."""
    assert warp(WHITE, crop.image_to_crop(), crop.size).min() == 255


def test_the_part_that_is_read_reaches_two_pixels_beyond_the_crop() -> None:
    # The inverse maps crop offsets (x, y) to image offsets (x - y, x + y): the corners (-0.5, -0.5), (8.5, -0.5),
    # (-0.5, 8.5) and (8.5, 8.5) lie at x = 60 + 0, 9, -9, 0 and y = 30 - 1, 8, 8, 17.
    # The zoom is sqrt 2, the margin 2.83.
    matrix = np.array([[0.5, 0.5, -45.0], [-0.5, 0.5, 15.0]])
    image = np.arange(100 * 120, dtype=np.uint16).astype(np.uint8).reshape(100, 120, 1)
    part, from_part = _needed_part(image, matrix, Size.square(9))
    assert_array_equal(part, image[26:51, 48:73])
    assert from_part.tolist() == [[0.5, 0.5, -8.0], [-0.5, 0.5, 4.0]]


@pytest.mark.parametrize(("x", "column"), [(-900.0, 0), (900.0, 19)])
@pytest.mark.parametrize(("y", "row"), [(-900.0, 0), (900.0, 9)])
def test_the_part_that_a_crop_outside_the_image_reads_is_the_nearest_pixel(
    x: float, column: int, y: float, row: int
) -> None:
    image = np.arange(10 * 20, dtype=np.uint8).reshape(10, 20, 1)
    part, _ = _needed_part(image, Crop(x, y, 8.0, Size.square(8)).image_to_crop(), Size.square(8))
    assert part.tolist() == [[[20 * row + column]]]


@pytest.mark.parametrize(
    ("image", "half"),
    [
        ([[10, 20, 30], [50, 60, 70]], [[35, 25]]),
        ([[10, 50], [20, 60], [30, 70]], [[35], [25]]),
        ([[100]], [[25]]),
    ],
)
def test_halving_averages_the_odd_row_or_column_with_black(image: list[list[int]], half: list[list[int]]) -> None:
    halved = _halve(np.repeat(np.array(image, np.uint8)[..., None], 3, axis=2))
    assert halved.tolist() == [[[value] * 3 for value in row] for row in half]


def test_an_image_of_two_pixels_is_halved() -> None:
    # Image pixel 0 lies at -0.25 of the only pixel of the half, image pixel 2 at 0.75: weights 0.75 and 0.25 of 255.
    shown = warp(np.full((2, 2, 3), 255, np.uint8), np.array([[0.5, 0, 0], [0, 0.5, 0]]), Size.square(2))
    assert shown[..., 0].tolist() == [[143, 48], [48, 16]]


def test_an_image_of_one_pixel_is_not_halved() -> None:
    """Its average with the black beyond it would darken it at every halving."""
    shown = warp(np.full((1, 1, 3), 255, np.uint8), np.array([[0.5, 0, 0], [0, 0.5, 0]]), Size.square(2))
    assert shown[..., 0].tolist() == [[255, 0], [0, 0]]


def test_beyond_the_image_is_black() -> None:
    image = np.full((100, 101, 3), 200, np.uint8)
    shown = warp(image, Crop(0.0, 0.0, 400.0, Size.square(64)).image_to_crop(), Size.square(64))
    assert shown[:31].max() == 0
    assert shown[:, :31].max() == 0
    assert shown[34:46, 34:46].min() == 200


def test_a_crop_far_outside_the_image_is_black() -> None:
    image = np.full((50, 50, 3), 200, np.uint8)
    assert warp(image, Crop(5000.0, -5000.0, 100.0, Size.square(64)).image_to_crop(), Size.square(64)).max() == 0


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.builds(
        Crop,
        center_x=st.floats(-50, 80),
        center_y=st.floats(-50, 80),
        side=st.floats(1, 3000),
        size=sizes,
        roll=st.floats(-3, 3),
    ),
)
def test_warp_takes_any_picture_and_crop(height: int, width: int, crop: Crop) -> None:
    image = np.full((height, width, 3), 255, np.uint8)
    shown = warp(image, crop.image_to_crop(), crop.size)
    assert shown.shape == (crop.size.height, crop.size.width, 3)
    assert shown.dtype == np.uint8
