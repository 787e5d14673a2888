"""Ways to cut a face out of its photograph: as the service does, or harder to see, to learn what a network bears."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import cv2
import numpy as np

from landmarks.crop import Crop, Matrix, scaling, warp
from train.datasets.face import Image

Cut = Callable[[Image, Crop], tuple[Image, Matrix]]
"""A photograph and where its face is -> the pixels that the network sees, and their matrix from the photograph."""


def plain(photo: Image, crop: Crop) -> tuple[Image, Matrix]:
    """As the service cuts it."""
    matrix = crop.image_to_crop()
    return warp(photo, matrix, crop.size), matrix


class Scene(NamedTuple):
    """A face as it is to be cut out."""

    photo: Image
    crop: Crop
    box: float
    """Longer side of the face's box in pixels of the crop."""


Disturb = Callable[[Scene, float, np.random.Generator], tuple[Image, Matrix]]
"""A scene, how much, and draws -> what the network sees, and its matrix from the photograph."""


# ---------------------------------------------------------------- disturbances


def turned(scene: Scene, degrees: float, rng: np.random.Generator) -> tuple[Image, Matrix]:
    """Rolled about the box's centre, to either side."""
    return plain(scene.photo, replace(scene.crop, roll=math.radians(degrees) * rng.choice([-1, 1])))


def shrunk(scene: Scene, pixels: float, _rng: np.random.Generator) -> tuple[Image, Matrix]:
    """As if the face's box were so many pixels long in the photograph, whose own resolution bounds it."""
    size = scene.crop.size
    side = max(4, round(pixels * size / scene.box))
    small, _ = plain(scene.photo, replace(scene.crop, size=side))
    return warp(small, scaling(size / side), size), scene.crop.image_to_crop()


def blurred(scene: Scene, sigma: float, _rng: np.random.Generator) -> tuple[Image, Matrix]:
    """By a Gaussian, in pixels of the crop."""
    pixels, matrix = plain(scene.photo, scene.crop)
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8), matrix


def compressed(scene: Scene, quality: float, _rng: np.random.Generator) -> tuple[Image, Matrix]:
    """The crop, as a JPEG of that quality."""
    pixels, matrix = plain(scene.photo, scene.crop)
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1], np.uint8), matrix


def covered(scene: Scene, percent: float, rng: np.random.Generator) -> tuple[Image, Matrix]:
    """A rectangle of noise over so much of the square about the face, wherever in it."""
    pixels, matrix = plain(scene.photo, scene.crop)
    width = scene.box * min(1.0, math.sqrt(percent / 100) * math.exp(rng.uniform(-0.3, 0.3)))
    height = min(scene.box, scene.box**2 * percent / 100 / width)
    left, top = (scene.crop.size - scene.box) / 2 + rng.uniform(0, 1, 2) * (scene.box - width, scene.box - height)
    area = pixels[round(top) : round(top + height), round(left) : round(left + width)]
    area[:] = rng.integers(0, 256, area.shape, np.uint8)
    return pixels, matrix


def misplaced(scene: Scene, percent: float, rng: np.random.Generator) -> tuple[Image, Matrix]:
    """The box, shifted by so much of its longer side in any direction: at 150 % the face is out of sight."""
    crop, angle = scene.crop, rng.uniform(0, 2 * math.pi)
    reach = percent / 100 * scene.box / crop.scale
    x, y = crop.center_x + reach * math.cos(angle), crop.center_y + reach * math.sin(angle)
    return plain(scene.photo, replace(crop, center_x=x, center_y=y))


@dataclass(frozen=True)
class Disturbance:
    """A way to make faces harder to see, and the strengths of it that are measured."""

    name: str
    unit: str
    """What its strength is, as an axis says it."""
    disturb: Disturb
    strengths: tuple[float, ...]
    """From the least to the most disturbing."""


DISTURBANCES: Final = (
    Disturbance("rotation", "rotation in the image plane, degrees", turned, (10, 20, 30, 45, 60, 75, 90)),
    Disturbance("size", "longer side of the face's box, pixels", shrunk, (256, 128, 96, 64, 48, 32, 24, 16)),
    Disturbance("blur", "Gaussian blur, sigma in pixels of the crop", blurred, (1, 2, 3, 4, 6, 8)),
    Disturbance("jpeg", "JPEG quality of the crop", compressed, (90, 50, 30, 20, 10, 5)),
    Disturbance("occlusion", "area covered, % of the square about the face", covered, (10, 20, 30, 40, 50, 60)),
    Disturbance("shift", "box shifted, % of its longer side", misplaced, (5, 10, 15, 20, 30, 50, 150)),
)
