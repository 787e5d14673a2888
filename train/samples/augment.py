"""Augmentation: random changes of where a face is cropped, of what covers it, and of its color and sharpness.

The order of the draws from a generator is part of the behaviour: the same generator gives the same sample.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from landmarks.crop import Crop, Matrix, compose, mirror, warp
from landmarks.size import Size
from train.config import Augment, Photometric
from train.datasets.image import RgbImage
from train.samples import corruptions

LARGE_ROTATION: Final = 90.0
"""Degrees that a face is rotated by at most where the configuration's large rotation is drawn."""
SMALL_FACE: Final = 0.5
"""Share of the crop's shorter side that is taken for the size of a small face in it: blur and downscaling are bounded
by that."""
MAX_SQUEEZE: Final = 2.0
"""Largest factor between the two directions of a squeezed picture."""
MAX_CUT: Final = 0.35
"""Largest share of the crop that an edge of the picture cuts off."""
MAX_BLUR: Final = 4.0
"""Largest standard deviation of a blur, in pixels."""
MIN_BLUR: Final = 0.3
"""Standard deviation in pixels below which a blur is left out."""


class AugmentedCrop(NamedTuple):
    """A crop and how its points follow."""

    pixels: RgbImage
    """RGB uint8 [H, W, 3]"""
    matrix: Matrix
    """2x3, image pixels -> crop pixels; includes the mirroring."""
    mirrored: bool
    """Whether the crop is mirrored, so that left and right points change places."""
    covered: NDArray[np.bool_]
    """[H, W] the pixels that show something pasted over the face."""


def augmented_crop(
    image: RgbImage, box: NDArray[np.float64], scale: float, size: Size, config: Augment, rng: np.random.Generator
) -> AugmentedCrop:
    """A random crop of that size of an image [..., 3], about `Crop.around` of an xyxy `box` and `scale`."""
    matrix, mirrored = random_crop(box, scale, size, config, rng)
    pixels = random_frame(warp(image, matrix, size), config.frame, rng)
    pixels, occluded = random_occlusion(pixels, config.occlusion, rng)
    if config.photometric:
        pixels = random_photometric(pixels, SMALL_FACE * min(size), config.photometric, rng)
    else:
        pixels = random_color(pixels, config.brightness, config.contrast, config.saturation, rng)
    pixels, erased = random_erasing(pixels, config.erasing, rng)
    return AugmentedCrop(pixels, matrix, mirrored, occluded | erased)


# ---------------------------------------------------------------- geometry


def random_crop(
    box: NDArray[np.float64], scale: float, size: Size, augment: Augment, rng: np.random.Generator
) -> tuple[Matrix, bool]:
    """The 2x3 matrix, image -> crop, of a randomly rotated, scaled, shifted and mirrored crop; whether mirrored."""
    upright = Crop.around(box, scale, size)
    reach = augment.shift / 256 * upright.side
    dx, dy, zoom, roll = rng.uniform(-1, 1, 4)
    rotation = LARGE_ROTATION if augment.large_rotation and rng.random() < augment.large_rotation else augment.rotation
    crop = Crop(
        upright.center_x + reach * dx,
        upright.center_y + reach * dy,
        upright.side * (1 + augment.scale * zoom),
        size,
        math.radians(rotation * roll),
    )
    mirrored = bool(rng.random() < augment.flip)
    matrix = random_squeeze(crop.image_to_crop(), size, augment.squeeze, rng)
    return (compose(mirror(size.width), matrix) if mirrored else matrix), mirrored


def random_squeeze(matrix: Matrix, size: Size, probability: float, rng: np.random.Generator) -> Matrix:
    """With some probability, the matrix to a crop whose width or height shows 1 to MAX_SQUEEZE times as much."""
    if not probability or rng.random() >= probability:
        return matrix
    factors = np.ones(2)
    factors[rng.integers(2)] = MAX_SQUEEZE ** -rng.random()
    about_middle = np.column_stack([np.diag(factors), (1 - factors) * (np.array(size) - 1) / 2])
    return compose(about_middle, matrix)


# ---------------------------------------------------------------- occlusion


def random_frame(crop: RgbImage, probability: float, rng: np.random.Generator) -> RgbImage:
    """With some probability, up to MAX_CUT of the crop at one side is black, as beyond the edge of a picture."""
    if not probability or rng.random() >= probability:
        return crop
    framed, share = crop.copy(), rng.uniform(0, MAX_CUT)
    # turned so that the edge is at the bottom; a view, through which the copy is written
    turned = np.rot90(framed, rng.integers(4))
    turned[len(turned) - round(share * len(turned)) :] = 0
    return framed


class Occluded(NamedTuple):
    """A crop with something pasted over it, or as it was."""

    pixels: RgbImage
    """RGB uint8 [H, W, 3]"""
    covered: NDArray[np.bool_]
    """[H, W] where it is pasted."""


def random_occlusion(crop: RgbImage, probability: float, rng: np.random.Generator) -> Occluded:
    """With some probability, an ellipse of 3 to 25 % of the area shows another part of the crop."""
    if not probability or rng.random() >= probability:
        return Occluded(crop, np.zeros(crop.shape[:2], np.bool_))
    height, width = crop.shape[:2]
    area, aspect = rng.uniform(0.03, 0.25) * height * width, math.exp(rng.uniform(-1, 1))
    radii = round(math.sqrt(area / math.pi * aspect)), round(math.sqrt(area / math.pi / aspect))
    x, y = rng.integers(0, [width, height]).tolist()
    angle = float(rng.uniform(0, 180))
    rows, columns = rng.integers(0, [height, width]).tolist()
    pixels = corruptions.texture_ellipse(crop, (x, y), radii, angle, (rows, columns))
    return Occluded(pixels, corruptions.ellipse_mask(crop.shape[:2], (x, y), radii, angle))


class Occluder:
    """A `Cropper` that pastes an ellipse over each face as `random_occlusion` does, and keeps where."""

    def __init__(self, seed: int = 0) -> None:
        self.covered: list[NDArray[np.bool_]] = []
        """[H, W] of each crop, in their order."""
        self._seed = seed

    def __call__(self, image: RgbImage, crop: Crop) -> tuple[RgbImage, Matrix]:
        pixels, matrix = corruptions.crop_face(image, crop)
        pixels, covered = random_occlusion(pixels, 1.0, np.random.default_rng([self._seed, len(self.covered)]))
        self.covered.append(covered)
        return pixels, matrix


def random_erasing(crop: RgbImage, probability: float, rng: np.random.Generator) -> Occluded:
    """With some probability, a rectangle of 2 to 20 % of the crop's area becomes noise."""
    covered = np.zeros(crop.shape[:2], np.bool_)
    if rng.random() >= probability:
        return Occluded(crop, covered)
    rows, columns = covered.shape
    area, aspect = rng.uniform(0.02, 0.2) * rows * columns, math.exp(rng.uniform(-1.2, 1.2))
    height, width = min(rows - 1, round(math.sqrt(area * aspect))), min(columns - 1, round(math.sqrt(area / aspect)))
    top, left = int(rng.integers(0, rows - height)), int(rng.integers(0, columns - width))
    covered[top : top + height, left : left + width] = True
    return Occluded(corruptions.noise_rectangle(crop, left, top, left + width, top + height, rng), covered)


def at_pixels(covered: NDArray[np.bool_], points: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether points [P, 2] lie in a crop, and whether they do where `covered` [H, W] holds."""
    inside = ((points >= 0) & (points <= np.array(covered.shape[::-1]) - 1)).all(axis=1)
    columns, rows = np.where(inside[:, None], points, 0).round().astype(int).T
    return inside, covered[rows, columns] & inside


# ---------------------------------------------------------------- color and sharpness


def random_color(
    image: RgbImage, brightness: float, contrast: float, saturation: float, rng: np.random.Generator
) -> RgbImage:
    """Brightness, contrast and saturation times a factor within 1 plus or minus the value given for each, 0 to 1."""
    return corruptions.adjust_color(image, *(1 + np.array([brightness, contrast, saturation]) * rng.uniform(-1, 1, 3)))


def random_photometric(image: RgbImage, face_size: float, config: Photometric, rng: np.random.Generator) -> RgbImage:
    """The changes that light, lens, sensor and file make to an image [H, W, 3], in that order.

    `face_size`: side in pixels of a small face of the image. Blur and downscaling are bounded so that it stays a face.
    """
    probabilities = [
        config.color_cast,
        config.grayscale,
        config.darkness,
        config.blur,
        config.downsample,
        config.noise,
        config.jpeg,
    ]
    cast, gray, dark, blur, downscale, noise, jpeg = (rng.random(7) < probabilities).tolist()
    image = random_color(image, config.color_jitter, config.color_jitter, config.color_jitter, rng)
    if cast:
        image = corruptions.scale_channels(image, rng.uniform(0.6, 1.25, 3))
    if gray:
        image = corruptions.grayscale(image)
    if dark:
        image = corruptions.scale_channels(image, np.full(3, rng.uniform(0.1, 0.4)))
    if blur:
        image = random_blur(image, rng.uniform(0.02, 0.06) * face_size, rng)
    if downscale:
        factor = rng.uniform(1.5, config.max_downsample)
        image = corruptions.downscale(image, float(np.clip(factor, 1.0, max(1.0, face_size / 10))))
    if noise or dark:
        image = corruptions.gaussian_noise(image, rng.uniform(1, 6 if dark else 20), rng)
    if jpeg:
        image = corruptions.jpeg(image, int(rng.integers(12, 90)))
    return image


def random_blur(image: RgbImage, sigma: float, rng: np.random.Generator) -> RgbImage:
    """A blur of focus or, as often, of motion in a random direction. `sigma` in pixels: see MAX_BLUR and MIN_BLUR."""
    sigma = min(sigma, MAX_BLUR)
    if sigma < MIN_BLUR:
        return image
    if rng.random() < 0.5:
        return corruptions.gaussian_blur(image, sigma)
    return corruptions.motion_blur(image, sigma, rng.uniform(0, np.pi))
