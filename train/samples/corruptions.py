"""The corruptions of images, each defined once. Augmentation (`train.samples.augment`) draws their strengths at random;
the robustness report (`train.evaluation.robustness`) measures the strengths listed in `CORRUPTIONS`.

The first part changes the pixels of an image, RGB uint8 [H, W, 3] -> a new one of the same shape. The second part
cuts a face out of its image so that it is harder to see.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from landmarks.crop import Crop, Matrix, compose, warp
from landmarks.size import Size
from train.datasets.image import RgbImage

# ---------------------------------------------------------------- light


def adjust_color(image: RgbImage, brightness: float, contrast: float, saturation: float) -> RgbImage:
    """Brightness, contrast (about the image's mean) and saturation (about each pixel's mean) times a factor each.

    Factors: 0 or more; 1 changes nothing.
    """
    # all three are one affine map of the channels, which OpenCV applies in a tenth of the time of arrays of floats
    slope, mean = brightness * contrast, brightness * float(np.mean(cv2.mean(image)[:3]))
    channels = slope * (saturation * np.eye(3) + (1 - saturation) / 3)
    return np.asarray(cv2.transform(image, np.column_stack([channels, np.full(3, (1 - contrast) * mean)])), np.uint8)


def scale_channels(image: RgbImage, factors: NDArray[np.float64]) -> RgbImage:
    """A color cast, or with three equal factors below 1 darkness: each channel times its factor.

    `factors` [3], for red, green and blue: 0 or more; 1 changes nothing.
    """
    table = np.clip(np.arange(256)[:, None] * factors, 0, 255).round().astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)


def grayscale(image: RgbImage) -> RgbImage:
    """Three equal channels, the luma of ITU-R BT.601."""
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.uint8)


# ---------------------------------------------------------------- lens, sensor and file


def gaussian_blur(image: RgbImage, sigma: float) -> RgbImage:
    """Out of focus. `sigma`: the Gaussian's standard deviation in pixels, above 0."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def motion_blur(image: RgbImage, sigma: float, angle: float) -> RgbImage:
    """Moved along a line. `sigma`: standard deviation in pixels, above 0; `angle`: radians from the x axis."""
    # a line of length L has a standard deviation of L / sqrt(12)
    reach = sigma * np.sqrt(3)
    side = 2 * int(np.ceil(reach)) + 1
    kernel = np.zeros((side, side), np.float32)
    step = reach * np.array([np.cos(angle), np.sin(angle)])
    start, end = ((side // 2 + sign * step).round().astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, start, end, (1.0,))
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def downscale(image: RgbImage, factor: float) -> RgbImage:
    """Reduced in resolution and enlarged again. `factor`: between the two resolutions, 1 or more."""
    size = image.shape[1], image.shape[0]
    small = cv2.resize(image, (round(size[0] / factor), round(size[1] / factor)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def gaussian_noise(image: RgbImage, sigma: float, rng: np.random.Generator) -> RgbImage:
    """Independent normal noise in every channel. `sigma`: standard deviation in gray levels of 255, 0 or more."""
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(sigma)
    return np.asarray(np.clip(image + noise, 0, 255), np.uint8)


def jpeg(image: RgbImage, quality: int) -> RgbImage:
    """Compressed and decompressed. `quality`: libjpeg's, from 0 (worst) to 100."""
    # OpenCV takes and gives BGR; with the channels exchanged, red would keep the detail that is due to blue
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


# ---------------------------------------------------------------- occlusion


def noise_rectangle(
    image: RgbImage, left: int, top: int, right: int, bottom: int, rng: np.random.Generator
) -> RgbImage:
    """Uniform noise over a rectangle (random erasing). Pixels; `right` and `bottom` are the first that are kept."""
    out = image.copy()
    area = out[top:bottom, left:right]
    area[:] = rng.integers(0, 256, area.shape, np.uint8)
    return out


def texture_ellipse(
    image: RgbImage, center: tuple[int, int], radii: tuple[int, int], angle: float, shift: tuple[int, int]
) -> RgbImage:
    """An ellipse filled with the image itself, upside down and moved (cyclically) by `shift` rows and columns.

    `center` (x, y) and `radii` in pixels; `angle` in degrees, clockwise from the x axis to the first radius.
    """
    texture = np.roll(image[::-1], shift, axis=(0, 1))
    return np.where(ellipse_mask(image.shape[:2], center, radii, angle)[..., None], texture, image)


def ellipse_mask(
    shape: tuple[int, ...], center: tuple[int, int], radii: tuple[int, int], angle: float
) -> NDArray[np.bool_]:
    """The pixels [H, W] that `texture_ellipse` fills in an image of that shape."""
    mask = cv2.ellipse(np.zeros(shape, np.uint8), center, radii, angle, 0, 360, (1,), cv2.FILLED)
    return np.asarray(mask > 0)


# ---------------------------------------------------------------- a face cut out of its image

Cropper = Callable[[RgbImage, Crop], tuple[RgbImage, Matrix]]
"""An image and where its face is -> the crop, RGB uint8 [H, W, 3], and the matrix from image pixels to crop pixels."""


def crop_face(image: RgbImage, crop: Crop) -> tuple[RgbImage, Matrix]:
    """The `Cropper` without any corruption: as the service crops."""
    matrix = crop.image_to_crop()
    return warp(image, matrix, crop.size), matrix


class FaceView(NamedTuple):
    """A face that is to be cropped from its image."""

    image: RgbImage
    crop: Crop
    box_side: float
    """Longer side in pixels of the crop of the rectangle of its shape about the face's box."""


def rotated(view: FaceView, degrees: float, rng: np.random.Generator) -> tuple[RgbImage, Matrix]:
    """Rotated about the box's center by `degrees`, 0 to 180, to either side."""
    return crop_face(view.image, replace(view.crop, roll=math.radians(degrees) * rng.choice([-1, 1])))


def downscaled(view: FaceView, pixels: float, _rng: np.random.Generator) -> tuple[RgbImage, Matrix]:
    """Shown at the resolution at which the box's longer side has `pixels`, above 0; the image's own bounds it."""
    size, matrix = view.crop.size, view.crop.image_to_crop()
    reduced = Size(*(max(4, round(pixels * side / view.box_side)) for side in size))
    small_crop = replace(view.crop, size=reduced)
    small, _ = crop_face(view.image, small_crop)
    return warp(small, compose(matrix, small_crop.crop_to_image()), size), matrix


def blurred(view: FaceView, sigma: float, _rng: np.random.Generator) -> tuple[RgbImage, Matrix]:
    """The crop through `gaussian_blur`."""
    pixels, matrix = crop_face(view.image, view.crop)
    return gaussian_blur(pixels, sigma), matrix


def compressed(view: FaceView, quality: float, _rng: np.random.Generator) -> tuple[RgbImage, Matrix]:
    """The crop through `jpeg`."""
    pixels, matrix = crop_face(view.image, view.crop)
    return jpeg(pixels, int(quality)), matrix


def occluded(view: FaceView, percent: float, rng: np.random.Generator) -> tuple[RgbImage, Matrix]:
    """A `noise_rectangle` over `percent`, 0 to 100, of the rectangle that `FaceView.box_side` is of, anywhere in it."""
    pixels, matrix = crop_face(view.image, view.crop)
    size, share = view.crop.size, percent / 100
    across, down = (view.box_side * (side / max(size)) for side in size)
    # no wider and no higher than that rectangle
    width = across * min(1.0, max(share, math.sqrt(share) * math.exp(rng.uniform(-0.3, 0.3))))
    height = across * down * share / width if width else 0.0
    left, top = (np.array(size) - (across, down)) / 2 + rng.uniform(0, 1, 2) * (across - width, down - height)
    return noise_rectangle(pixels, round(left), round(top), round(left + width), round(top + height), rng), matrix


def box_shift(view: FaceView, percent: float, rng: np.random.Generator) -> tuple[RgbImage, Matrix]:
    """The box moved in any direction by `percent`, 0 or more, of its longer side: at 150 the face is out of sight."""
    crop, angle = view.crop, rng.uniform(0, 2 * math.pi)
    reach = percent / 100 * view.box_side / crop.scale
    x, y = crop.center_x + reach * math.cos(angle), crop.center_y + reach * math.sin(angle)
    return crop_face(view.image, replace(crop, center_x=x, center_y=y))


@dataclass(frozen=True)
class Corruption:
    """A way to make faces harder to see, and the strengths of it that the robustness report measures."""

    name: str
    unit: str
    """What its strength is, as the label of an axis."""
    apply: Callable[[FaceView, float, np.random.Generator], tuple[RgbImage, Matrix]]
    """A face, the strength and random draws -> what a `Cropper` gives."""
    strengths: tuple[float, ...]
    """From the mildest to the most severe."""


CORRUPTIONS: Final = (
    Corruption("rotation", "rotation in the image plane, degrees", rotated, (10, 20, 30, 45, 60, 75, 90)),
    Corruption("size", "longer side of the face's box, pixels", downscaled, (256, 128, 96, 64, 48, 32, 24, 16)),
    Corruption("blur", "Gaussian blur, sigma in pixels of the crop", blurred, (1, 2, 3, 4, 6, 8)),
    Corruption("jpeg", "JPEG quality of the crop", compressed, (90, 50, 30, 20, 10, 5)),
    Corruption("occlusion", "occluded area, % of the square about the face", occluded, (10, 20, 30, 40, 50, 60)),
    Corruption("shift", "box shifted, % of its longer side", box_shift, (5, 10, 15, 20, 30, 50, 150)),
)
