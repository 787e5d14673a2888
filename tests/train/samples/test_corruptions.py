"""Each corruption does what its parameter says; where a face is cropped, its points follow the matrix."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from landmarks.crop import Crop, transform_points
from landmarks.size import Size
from train.samples import corruptions
from train.samples.corruptions import CORRUPTIONS, Corruption, FaceView

Image = NDArray[np.uint8]

images = arrays(np.uint8, (16, 16, 3))
colors = st.tuples(*[st.integers(0, 255)] * 3)
generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def stripes(first: tuple[int, int, int], second: tuple[int, int, int]) -> Image:
    """Columns of one pixel in two colors, in turn."""
    return np.tile(np.array([first, second], np.uint8), (16, 8, 1))


# ---------------------------------------------------------------- light


def test_brightness_contrast_and_saturation_by_hand() -> None:
    image = np.array([[[100, 160, 40], [50, 50, 50]]], np.uint8)
    # the pixels' means are 100 and 50, the image's 75
    assert corruptions.adjust_color(image, 1.5, 1, 1).tolist() == [[[150, 240, 60], [75, 75, 75]]]
    assert corruptions.adjust_color(image, 1, 2, 1).tolist() == [[[125, 245, 5], [25, 25, 25]]]
    assert corruptions.adjust_color(image, 1, 1, 0.5).tolist() == [[[100, 130, 70], [50, 50, 50]]]


@given(images)
def test_factors_of_one_change_nothing(image: Image) -> None:
    assert np.abs(corruptions.adjust_color(image, 1, 1, 1).astype(int) - image).max() <= 1
    assert np.array_equal(corruptions.scale_channels(image, np.ones(3)), image)


def test_a_color_cast_by_hand() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    assert corruptions.scale_channels(image, np.array([0.5, 1.0, 3.0]))[0, 0].tolist() == [50, 100, 255]


def test_gray_is_the_luma_of_bt_601() -> None:
    # 0.299, 0.587 and 0.114 of 255
    image = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert corruptions.grayscale(image).tolist() == [[[76] * 3, [150] * 3, [29] * 3]]


# ---------------------------------------------------------------- lens, sensor and file


def spread(pixels: Image) -> NDArray[np.float64]:
    """[2, 2] the covariance (x, y) of an image's brightness, in squared pixels."""
    weights = pixels[..., 0] / pixels[..., 0].sum()
    rows, columns = np.mgrid[: len(pixels), : len(pixels)]
    offsets = np.stack([columns - (weights * columns).sum(), rows - (weights * rows).sum()])
    return np.einsum("ijk,ljk,jk->il", offsets, offsets, weights)


def dot() -> Image:
    """A white square of 9 pixels, the variance of whose place is (81 - 1) / 12 in x and in y."""
    image = np.zeros((65, 65, 3), np.uint8)
    image[28:37, 28:37] = 255
    return image


@given(st.floats(1, 4))
def test_a_blur_of_focus_has_its_standard_deviation(sigma: float) -> None:
    added = spread(corruptions.gaussian_blur(dot(), sigma)) - np.eye(2) * 80 / 12
    assert added == pytest.approx(np.eye(2) * sigma**2, abs=0.06 * sigma**2)


@given(st.floats(2, 4), st.sampled_from([0.0, np.pi / 2, np.pi]))
def test_a_blur_of_motion_lies_along_its_line(sigma: float, angle: float) -> None:
    added = spread(corruptions.motion_blur(dot(), sigma, angle)) - np.eye(2) * 80 / 12
    along = np.array([np.cos(angle), np.sin(angle)])
    # the line's ends are rounded to whole pixels, and each counts as one
    assert np.sqrt(along @ added @ along) == pytest.approx(sigma, abs=0.6)
    assert along[::-1] @ added @ along[::-1] == pytest.approx(0, abs=0.05)


def test_downscaling_by_two_shows_the_means_of_two_by_two() -> None:
    small = np.array([[10, 90], [50, 250]], np.uint8)
    image = np.kron(small, np.ones((4, 4), np.uint8))[..., None].repeat(3, axis=2)
    noisy = np.asarray(image + np.tile([[[0], [4]], [[4], [0]]], (4, 4, 1)), np.uint8)
    # inside each quarter all blocks have the mean of 0 and 4 more
    shown = corruptions.downscale(noisy, 2)
    assert shown[1:3, 1:3, 0].tolist() == [[12, 12], [12, 12]]
    assert shown[5:7, 5:7, 0].tolist() == [[252, 252], [252, 252]]


@given(st.floats(0, 20), generators)
def test_noise_has_its_standard_deviation(sigma: float, rng: np.random.Generator) -> None:
    noise = corruptions.gaussian_noise(np.full((64, 64, 3), 128, np.uint8), sigma, rng).astype(int) - 128
    # rounding down takes half a level, and adds a variance of 1/12
    assert noise.std() == pytest.approx(np.sqrt(sigma**2 + 1 / 12), rel=0.05, abs=0.3)
    assert abs(noise.mean() + 0.5) < 0.6 + 0.05 * sigma


def test_jpeg_keeps_the_detail_of_each_color_by_its_luma() -> None:
    """JPEG stores the luma of every pixel, and the color of two by two pixels.

    So a pixel is shown as the mean color of its block, plus its own luma less the mean luma, in all channels. Blue of
    255 has the luma 0.114 * 255 = 29, so the stripes lie 14.5 above and below the mean (0, 0, 127.5): far less than
    with red (0.299 * 255 = 76), for which blue is taken where the channels are exchanged.
    """
    blue = corruptions.jpeg(stripes((0, 0, 255), (0, 0, 0)), 100)
    assert blue[8, 8].tolist() == pytest.approx([14.5, 14.5, 142], abs=3)
    assert blue[8, 9].tolist() == pytest.approx([0, 0, 113], abs=3)
    red = corruptions.jpeg(stripes((255, 0, 0), (0, 0, 0)), 100)
    assert red[8, 8].tolist() == pytest.approx([165.5, 38, 38], abs=3)
    assert red[8, 9].tolist() == pytest.approx([89.5, 0, 0], abs=3)


@given(colors, colors)
def test_jpeg_shows_the_luma_of_pixels_and_the_color_of_blocks(
    first: tuple[int, int, int], second: tuple[int, int, int]
) -> None:
    pair = np.array([first, second], float)
    luma = pair @ [0.299, 0.587, 0.114]
    expected = np.clip(pair.mean(axis=0) + (luma - luma.mean())[:, None], 0, 255)
    assert corruptions.jpeg(stripes(first, second), 100)[8, 8:10] == pytest.approx(expected, abs=6)


# ---------------------------------------------------------------- occlusion


@given(images, st.integers(0, 15), st.integers(0, 15), st.integers(1, 16), st.integers(1, 16), generators)
def test_noise_stays_inside_its_rectangle(
    image: Image, left: int, top: int, width: int, height: int, rng: np.random.Generator
) -> None:
    before = image.copy()
    changed = (corruptions.noise_rectangle(image, left, top, left + width, top + height, rng) != image).any(axis=2)
    assert np.array_equal(image, before)
    changed[top : top + height, left : left + width] = False
    assert not changed.any()


def test_noise_covers_its_rectangle() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    changed = corruptions.noise_rectangle(image, 10, 20, 40, 60, np.random.default_rng(0)).any(axis=2)
    assert changed[20:60, 10:40].mean() > 0.999


@given(images, st.integers(0, 15), st.integers(0, 15))
def test_an_ellipse_shows_the_image_upside_down_and_moved(image: Image, down: int, right: int) -> None:
    shown = corruptions.texture_ellipse(image, (8, 8), (5, 3), 0, (down, right))
    assert np.array_equal(shown[8, 8], image[15 - (8 - down) % 16, (8 - right) % 16])
    assert np.array_equal(shown[8, 12], image[15 - (8 - down) % 16, (12 - right) % 16])
    assert np.array_equal(shown[12:, 8], image[12:, 8])
    assert np.array_equal(shown[8, 14:], image[8, 14:])


# ---------------------------------------------------------------- a face cut out of its image

SPOT = (130, 90)
"""A bright spot on a dark image, in its pixels."""


def view(side: int = 64, width: int | None = None) -> FaceView:
    """About a box of 100 pixels that is as narrow as the crop."""
    image = np.full((200, 200, 3), 20, np.uint8)
    cv2.circle(image, SPOT, 4, (255, 255, 255), -1)
    size = Size(width or side, side)
    half = 50 * size.width / side
    return FaceView(image, Crop.around([100 - half, 50, 100 + half, 150], 1.25, size), side / 1.25)


def middle_of_the_light(pixels: Image) -> NDArray[np.float64]:
    weights = np.maximum(pixels.mean(axis=2) - 25, 0)
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    return np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()


@pytest.mark.parametrize(
    ("corruption", "strength"),
    [(each, each.strengths[i]) for each in CORRUPTIONS for i in (0, 2) if each.name != "occlusion"],
    ids=lambda value: getattr(value, "name", str(value)),
)
@pytest.mark.parametrize("width", [64, 60])
def test_what_is_seen_lies_where_the_matrix_says(corruption: Corruption, strength: float, width: int) -> None:
    pixels, matrix = corruption.apply(view(64, width), strength, np.random.default_rng(0))
    assert pixels.shape == (64, width, 3)
    assert pixels.dtype == np.uint8
    assert middle_of_the_light(pixels) == pytest.approx(transform_points(matrix, SPOT), abs=0.5)


@given(st.floats(0, 89), generators)
def test_rotated_by_so_many_degrees(degrees: float, rng: np.random.Generator) -> None:
    _, matrix = corruptions.rotated(view(), degrees, rng)
    assert np.degrees(np.arctan(abs(matrix[0, 1] / matrix[0, 0]))) == pytest.approx(degrees)


def test_downscaled_to_so_many_pixels() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (200, 200, 3), np.uint8)
    pixels, _ = corruptions.downscaled(view()._replace(image=noise), 8, rng)
    # ten pixels across the crop, smoothly enlarged: neighbours are nearly alike
    assert np.abs(np.diff(pixels.astype(int), axis=1)).max() < 30


@given(st.floats(0, 100), generators, st.sampled_from([256, 192]))
def test_so_much_of_the_box_is_occluded(percent: float, rng: np.random.Generator, width: int) -> None:
    face = view(256, width)
    before, _ = corruptions.crop_face(face.image, face.crop)
    pixels, _ = corruptions.occluded(face, percent, rng)
    area = 256 * width / 1.25**2
    assert 100 * (pixels != before).any(axis=2).sum() / area == pytest.approx(percent, abs=1.5)


@given(st.floats(0, 150), generators)
def test_the_box_is_shifted_by_so_much_of_its_side(percent: float, rng: np.random.Generator) -> None:
    _, straight = corruptions.crop_face(view().image, view().crop)
    _, matrix = corruptions.box_shift(view(), percent, rng)
    shift = matrix[:, 2] - straight[:, 2]
    assert np.linalg.norm(shift) == pytest.approx(percent / 100 * 64 / 1.25)
