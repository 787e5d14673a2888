"""Random changes keep within their configuration, and the order of the draws stays."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks.crop import transform_points
from landmarks.size import Size
from train.config import Augment, Photometric
from train.samples.augment import (
    at_pixels,
    augmented_crop,
    random_color,
    random_crop,
    random_erasing,
    random_frame,
    random_occlusion,
    random_photometric,
    random_squeeze,
)

STILL = Augment(flip=0, rotation=0, scale=0, shift=0, brightness=0, contrast=0, saturation=0, erasing=0)
BOX = np.array([20.0, 20.0, 120.0, 140.0])
QUIET = Photometric(color_jitter=0, color_cast=0, grayscale=0, darkness=0, blur=0, downsample=0, noise=0, jpeg=0)
EVERYTHING = Photometric(color_cast=1, grayscale=1, darkness=1, blur=1, downsample=1, noise=1, jpeg=1)

generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)
boxes = st.tuples(st.floats(-50, 200), st.floats(-50, 200), st.floats(5, 200), st.floats(5, 200)).map(
    lambda box: np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]])
)


def noise(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)


# ---------------------------------------------------------------- geometry


sizes = st.sampled_from([Size.square(256), Size(width=192, height=256), Size(width=256, height=64)])


@given(boxes, generators, st.floats(0, 60), st.floats(0, 0.5), st.floats(0, 40), sizes)
def test_a_random_crop_keeps_within_its_configuration(
    box: np.ndarray, rng: np.random.Generator, rotation: float, scale: float, shift: float, size: Size
) -> None:
    augment = Augment(rotation=rotation, scale=scale, shift=shift)
    matrix, mirrored = random_crop(box, 1.0, size, augment, rng)
    # the box has the size of the crop's shape that holds it: as wide or as high
    linear, side = matrix[:, :2], ((box[2:] - box[:2]) * 256 / np.array(size)).max()
    assert (np.linalg.det(linear) < 0) == mirrored
    zoom = math.sqrt(abs(np.linalg.det(linear))) / (256 / side)
    assert 1 / (1 + scale) - 1e-9 <= zoom <= 1 / (1 - scale) + 1e-9
    assert math.degrees(math.atan2(abs(linear[0, 1]), linear[1, 1])) <= rotation + 1e-6
    middle = transform_points(matrix, (box[:2] + box[2:]) / 2)
    assert np.linalg.norm(middle - (np.array(size) - 1) / 2) <= shift * zoom * math.sqrt(2) + 1e-6


def test_random_crops_use_all_that_their_configuration_allows() -> None:
    rng = np.random.default_rng(0)
    crops = [random_crop(BOX, 1.0, Size.square(256), Augment(), rng) for _ in range(500)]
    linear = np.array([matrix[:, :2] for matrix, _ in crops])
    zoom = np.sqrt(np.abs(np.linalg.det(linear))) / (256 / 120)
    assert zoom.min() < 0.82
    assert zoom.max() > 1.3
    assert np.degrees(np.arctan2(linear[:, 0, 1], np.abs(linear[:, 1, 1]))).max() > 28
    assert 0.4 < np.mean([mirrored for _, mirrored in crops]) < 0.6
    middles = np.array([transform_points(matrix, [70, 80]) for matrix, _ in crops])
    assert np.abs(middles - 127.5).max() > 15


def test_a_large_rotation_may_lay_a_face_on_its_side() -> None:
    def rolls(augment: Augment) -> list[float]:
        matrices = [
            random_crop(BOX, 1.25, Size.square(128), augment, np.random.default_rng(seed))[0] for seed in range(200)
        ]
        return [abs(math.degrees(math.atan2(matrix[1, 0], matrix[0, 0]))) for matrix in matrices]

    still = STILL.model_copy(update={"rotation": 10.0})
    assert max(rolls(still)) < 10
    large = sum(roll > 10 for roll in rolls(still.model_copy(update={"large_rotation": 0.3})))
    # it is drawn three times in ten, and then lies beyond 10 degrees eight times in nine
    assert 30 < large < 80


def test_the_order_of_the_draws_stays() -> None:
    """A sample of a seed, an epoch and a face is the same in every version: here, its matrix and the rest of it."""
    rng = np.random.default_rng([0, 3, 7])
    crop = augmented_crop(noise(160), BOX, 1.25, Size.square(64), Augment(), rng)
    expected = [[-0.352434397, 0.13593058, 46.529270195], [0.13593058, 0.352434397, -8.450611317]]
    assert crop.matrix == pytest.approx(np.array(expected), abs=1e-6)
    assert crop.mirrored
    assert rng.integers(1000) == 132
    rng = np.random.default_rng([0, 3, 7])
    augmented_crop(
        noise(160), BOX, 1.25, Size.square(64), Augment(occlusion=1, large_rotation=1, photometric=EVERYTHING), rng
    )
    assert rng.integers(1000) == 717


# ---------------------------------------------------------------- occlusion


@given(generators)
def test_erasing_changes_one_rectangle(rng: np.random.Generator) -> None:
    changed, covered = random_erasing(np.zeros((128, 128, 3), np.uint8), 1.0, rng)
    assert covered[changed.any(axis=2)].all()
    rows, columns = np.nonzero(changed.any(axis=2))
    area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert 0.015 < area / 128**2 < 0.21
    assert len(rows) > 0.99 * area


@given(generators)
def test_an_occlusion_covers_an_ellipse_and_nothing_else(rng: np.random.Generator) -> None:
    crop = noise(128)
    pixels, covered = random_occlusion(crop, 1.0, rng)
    occluded = (pixels != crop).any(axis=2)
    assert not (occluded & ~covered).any()
    assert occluded.sum() > 0.9 * covered.sum()  # the texture repeats a gray level now and then
    # an ellipse that reaches over the edge shows less of itself
    assert 0.005 < occluded.mean() < 0.26
    assert occluded.sum() > 0.9 * cv2.contourArea(cv2.convexHull(cv2.findNonZero(occluded.astype(np.uint8))))


@given(generators)
def test_what_has_no_probability_never_happens(rng: np.random.Generator) -> None:
    crop = noise(32)
    for pixels, covered in (random_occlusion(crop, 0.0, rng), random_erasing(crop, 0.0, rng)):
        assert pixels is crop
        assert not covered.any()


# ---------------------------------------------------------------- color and sharpness


@given(generators)
def test_color_without_a_range_does_not_change(rng: np.random.Generator) -> None:
    assert np.abs(random_color(noise(16), 0, 0, 0, rng).astype(int) - noise(16)).max() <= 1


@given(generators)
def test_photometric_changes_without_probabilities_are_none(rng: np.random.Generator) -> None:
    assert np.abs(random_photometric(noise(16), 40.0, QUIET, rng).astype(int) - noise(16)).max() <= 1


@pytest.mark.parametrize("name", ["color_cast", "grayscale", "darkness", "blur", "downsample", "noise", "jpeg"])
def test_every_photometric_change_changes_the_image_and_not_its_shape(name: str) -> None:
    image = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    changed = random_photometric(image, 40.0, QUIET.model_copy(update={name: 1.0}), np.random.default_rng(0))
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
    assert np.abs(changed.astype(int) - image).max() > 5
    if name == "grayscale":
        assert (changed == changed[..., :1]).all()
    if name == "darkness":
        assert changed.mean() < 0.5 * image.mean()


@given(generators)
def test_small_faces_are_not_blurred_away(rng: np.random.Generator) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[28:36, 28:36] = 255
    changed = random_photometric(image, 10.0, QUIET.model_copy(update={"blur": 1.0, "downsample": 1.0}), rng)
    assert changed[31:33, 31:33].mean() > 200


# ---------------------------------------------------------------- squeezed and cut pictures


@given(generators)
def test_a_squeeze_shrinks_one_direction_about_the_middle(rng: np.random.Generator) -> None:
    matrix = random_squeeze(np.eye(2, 3), Size.square(101), 1.0, rng)
    shares = np.sort(np.diag(matrix[:, :2]))
    assert 0.5 <= shares[0] <= shares[1] == 1.0
    assert transform_points(matrix, [50.0, 50.0]) == pytest.approx([50.0, 50.0])
    assert matrix[0, 1] == matrix[1, 0] == 0.0


def test_a_frame_cuts_each_side_and_nothing_else() -> None:
    rng, white, cut = np.random.default_rng(0), np.full((100, 100, 3), 255, np.uint8), set()
    for _ in range(100):
        framed = random_frame(white, 1.0, rng)[..., 0]
        rows, columns = (framed > 0).any(axis=1), (framed > 0).any(axis=0)
        assert (framed > 0).sum() == rows.sum() * columns.sum() >= 65 * 100
        ends = {"top": rows[0], "bottom": rows[-1], "left": columns[0], "right": columns[-1]}
        dark = [name for name, seen in ends.items() if not seen]
        assert len(dark) <= 1
        cut |= set(dark)
    assert cut == {"top", "bottom", "left", "right"}
    assert white.min() == 255


def test_without_these_options_nothing_is_drawn() -> None:
    rng, other = np.random.default_rng(3), np.random.default_rng(3)
    assert random_frame(noise(16), 0.0, rng) is not None
    random_squeeze(np.eye(2, 3), Size.square(16), 0.0, rng)
    assert rng.random() == other.random()
    squeezed = augmented_crop(noise(150), BOX, 1.0, Size.square(64), STILL.model_copy(update={"squeeze": 1.0}), rng)
    linear = squeezed.matrix[:, :2]
    assert abs(linear[0, 0]) != pytest.approx(abs(linear[1, 1]))


UPRIGHT = Size(width=48, height=96)
ALL = Augment(
    squeeze=1,
    frame=1,
    occlusion=1,
    erasing=1,
    large_rotation=1,
    photometric=EVERYTHING,
    flip=1,
    rotation=30,
    scale=0.25,
)


@given(generators)
def test_a_rectangular_crop_is_changed_in_every_way_within_its_size(rng: np.random.Generator) -> None:
    crop = augmented_crop(noise(160), BOX, 1.25, UPRIGHT, ALL, rng)
    assert crop.pixels.shape == (96, 48, 3)
    assert crop.covered.shape == (96, 48)
    # an ellipse and a rectangle of 5 to 45 % together, of which little may lie within the crop
    assert 0 < crop.covered.mean() < 0.5


def test_points_of_a_rectangle_are_looked_up_in_its_rows() -> None:
    covered = np.zeros((96, 48), np.bool_)
    covered[90, 10] = True
    inside, hidden = at_pixels(
        covered, np.array([[10, 90], [47, 95], [48, 90], [10, 96], [90, 10], [-1, 0]], np.float64)
    )
    assert inside.tolist() == [True, True, False, False, False, False]
    assert hidden.tolist() == [True, False, False, False, False, False]


@given(generators)
def test_a_rectangle_is_mirrored_across_its_width(rng: np.random.Generator) -> None:
    still = Augment(rotation=0, scale=0, shift=0, flip=0)
    (plain, _), (mirrored, flipped) = (
        random_crop(BOX, 1.0, UPRIGHT, still.model_copy(update={"flip": flip}), rng) for flip in (0, 1)
    )
    assert flipped
    x, y = transform_points(plain, [70.0, 60.0])
    assert transform_points(mirrored, [70.0, 60.0]) == pytest.approx([47 - x, y])
