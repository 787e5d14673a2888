"""Changes of a training picture's colour and sharpness: what bad light, bad lenses and bad cameras do."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from train.config import Augment, Photometric
from train.datasets.face import Image


def disturb(image: Image, face: float, config: Photometric, rng: np.random.Generator) -> Image:
    """The picture, changed as the light, the lens, the sensor and the file would change it, in that order.

    `face`: size in pixels of a small face of the picture. What blurs is kept small enough that it stays a face.
    """
    hit = rng.random(7) < [config.cast, config.grey, config.dark, config.blur, config.coarse, config.noise, config.jpeg]
    cast, grey, dark, blurred, coarse, noisy, compressed = (bool(value) for value in hit)
    image = jitter_colour(
        image, Augment(brightness=config.colour, contrast=config.colour, saturation=config.colour), rng
    )
    if cast:
        image = scaled(image, rng.uniform(0.6, 1.25, 3))
    if grey:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.uint8)
    if dark:
        image = scaled(image, np.full(3, rng.uniform(0.1, 0.4)))
    if blurred:
        image = blur(image, rng.uniform(0.02, 0.06) * face, rng)
    if coarse:
        image = coarsen(image, float(np.clip(rng.uniform(1.5, config.coarsest), 1.0, max(1.0, face / 10))))
    if noisy or dark:
        image = add_noise(image, rng.uniform(1, 6 if dark else 20), rng)
    if compressed:
        image = recompress(image, int(rng.integers(12, 90)))
    return image


def jitter_colour(crop: Image, augment: Augment, rng: np.random.Generator) -> Image:
    """Random brightness, contrast and saturation, each by a factor about 1."""
    ranges = np.array([augment.brightness, augment.contrast, augment.saturation])
    brightness, contrast, saturation = 1 + ranges * rng.uniform(-1, 1, 3)
    pixels = crop.astype(np.float32)
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = brightness * (grey + saturation * (pixels - grey))
    middle = brightness * grey.mean()
    return np.asarray(np.clip(middle + contrast * (pixels - middle), 0, 255), np.uint8)


def scaled(image: Image, factors: NDArray[np.float64]) -> Image:
    """Each channel times its factor."""
    return np.asarray(np.clip(image * factors.astype(np.float32), 0, 255), np.uint8)


def blur(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    """Out of focus, or as often moved along a line, by a standard deviation of `sigma` pixels, at most 4."""
    sigma = min(sigma, 4.0)
    if sigma < 0.3:
        return image
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
    # a line of length L has a standard deviation of L / sqrt(12)
    reach, angle = sigma * np.sqrt(3), rng.uniform(0, np.pi)
    side = 2 * int(np.ceil(reach)) + 1
    kernel = np.zeros((side, side), np.float32)
    step = reach * np.array([np.cos(angle), np.sin(angle)])
    start, end = ((side // 2 + sign * step).round().astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, start, end, (1.0,))
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def coarsen(image: Image, factor: float) -> Image:
    """Shown at a fraction of its resolution."""
    size = image.shape[1], image.shape[0]
    small = cv2.resize(image, (round(size[0] / factor), round(size[1] / factor)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def add_noise(image: Image, deviation: float, rng: np.random.Generator) -> Image:
    """Normal noise on every channel, in grey levels."""
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(deviation)
    return np.asarray(np.clip(image + noise, 0, 255), np.uint8)


def recompress(image: Image, quality: int) -> Image:
    """Through a JPEG of that quality."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
