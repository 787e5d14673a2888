"""Training images of the detector: mosaics of images, with faces pasted in and faces partly occluded.

The images of the data set show few faces, and large ones; mosaics of up to 8 x 8 give crowds of small ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from landmarks.crop import Crop, Matrix, compose, mirror, transform_points, warp
from landmarks.size import Size
from train.datasets.boxes import Boxes, clipped, overlap_of_smaller, size_of, transform_boxes, visible_share
from train.datasets.image import RgbImage
from train.detection.config import Compose
from train.detection.images import BoxedImage
from train.samples.image_cache import ImageCache

MIN_VISIBLE = 0.5
"""A box is a face to find when at least this share of it lies within its tile. Its box is then the visible part, as a
detector boxes a face at the edge of an image."""
MIN_IGNORED = 0.15
"""Between this share and MIN_VISIBLE a face is neither face nor background; below, it is background."""
MIN_COVER = 0.8
"""Least share of a tile's side that its image covers: smaller faces come from smaller tiles."""
BACKDROP_MIN_TILE = 100
"""Smallest tile in pixels in which the black around its image may be filled from another."""
MAX_FILL = 1.3
"""Largest size of a face, over the side of its tile: its forehead and chin are cut away then."""
MAX_BACKGROUND_SCALE = 1.25
"""Largest magnification of a random part of an image."""
PASTED_SIZES = (9.0, 110.0)
"""Smallest and largest size of a pasted face, in pixels."""


@dataclass(frozen=True, eq=False)
class Mosaic:
    """A square training image and its faces."""

    image: RgbImage
    boxes: Boxes
    """[N, 4] xyxy"""
    trusted: NDArray[np.bool_]
    """[N] whether the box is a face to find; otherwise it is neither face nor background."""


class MosaicComposer:
    """Composes mosaics. The order of the draws from a generator is part of the behaviour."""

    def __init__(
        self, images: Sequence[BoxedImage], config: Compose, size: int, trusted_score: float, workers: int = 0
    ) -> None:
        """Mosaics of `size` pixels. `workers`: processes that compose, as for `ImageCache`."""
        self._images = images
        self._config = config
        self._size = size
        self._trusted_score = trusted_score
        self._with_faces = [i for i, image in enumerate(images) if (image.scores >= trusted_score).any()]
        self._faceless = [i for i, image in enumerate(images) if not len(image.boxes)]
        self._cache = ImageCache(workers=workers)

    def compose(self, first: int, rng: np.random.Generator) -> Mosaic:
        """A mosaic with image number `first` in one of its tiles. Raises DataError when an image cannot be read."""
        counts, weights = zip(*sorted(self._config.tiles.items()), strict=True)
        count = int(rng.choice(counts, p=np.array(weights) / sum(weights)))
        edges = np.linspace(0, self._size, count + 1).round().astype(int)
        canvas = np.zeros((self._size, self._size, 3), np.uint8)
        boxes, trusted = [np.zeros((0, 4))], [np.zeros(0, bool)]
        first_at = int(rng.integers(count * count))
        for number in range(count * count):
            row, column = divmod(number, count)
            (top, bottom), (left, right) = edges[row : row + 2], edges[column : column + 2]
            side = max(bottom - top, right - left)
            index = first if number == first_at else self._any(self._with_faces, rng)
            if self._faceless and rng.random() < self._config.faceless:
                index = self._any(self._faceless, rng)
            tile = self._tile(self._images[index], int(side), rng)
            canvas[top:bottom, left:right] = tile.image[: bottom - top, : right - left]
            boxes.append(tile.boxes + np.array([left, top, left, top]))
            trusted.append(tile.trusted)
        mosaic = Mosaic(canvas, np.concatenate(boxes), np.concatenate(trusted))
        if rng.random() < self._config.paste:
            mosaic = self._paste(mosaic, rng)
        return self._occlude(mosaic, rng)

    @staticmethod
    def _any(indices: Sequence[int], rng: np.random.Generator) -> int:
        return indices[int(rng.integers(len(indices)))]

    # ------------------------------------------------------------ one tile

    def _tile(self, image: BoxedImage, side: int, rng: np.random.Generator) -> Mosaic:
        pixels = self._cache.load(image.path)
        matrix = self._view(image, pixels.shape[:2], side, rng)
        tile = warp(pixels, matrix, Size.square(side))
        if side > BACKDROP_MIN_TILE and rng.random() < self._config.backdrop:
            outside = np.ones((side, side), np.uint8)
            cv2.fillConvexPoly(outside, corners(matrix, pixels.shape[:2]).round().astype(np.int32), (0,))
            cv2.copyTo(self._backdrop(side, rng), outside, tile)
        boxes = transform_boxes(matrix, image.boxes)
        visible = visible_share(boxes, side)
        kept = visible >= MIN_IGNORED
        trusted = (image.scores >= self._trusted_score) & (visible >= MIN_VISIBLE)
        return Mosaic(tile, clipped(boxes, side)[kept], trusted[kept])

    def _backdrop(self, side: int, rng: np.random.Generator) -> RgbImage:
        """A part of some image that shows no face; black when eight attempts find none."""
        index = int(rng.integers(len(self._images)))
        if self._faceless and rng.random() < 0.5:
            index = self._any(self._faceless, rng)
        image = self._images[index]
        pixels = self._cache.load(image.path)
        height, width = pixels.shape[:2]
        for _ in range(8):
            extent = rng.uniform(0.2, 0.8) * min(height, width)
            low = rng.uniform(0, [width - extent, height - extent])
            if not overlap_of_smaller(np.concatenate([low, low + extent]), image.boxes).any():
                center = low + extent / 2
                size = Size.square(side)
                return warp(pixels, Crop(float(center[0]), float(center[1]), extent, size).image_to_crop(), size)
        return np.zeros((side, side, 3), np.uint8)

    def _view(self, image: BoxedImage, shape: tuple[int, ...], side: int, rng: np.random.Generator) -> Matrix:
        """The 2x3 matrix from an image to a tile, which shows one of its faces or a random part."""
        config = self._config
        height, width = shape
        min_scale = MIN_COVER * side / max(height, width)
        faces = image.boxes[image.scores >= self._trusted_score]
        shown = faces if rng.random() >= config.background else faces[:0]
        if len(image.lookalikes) and rng.random() < config.lookalike:
            shown = image.lookalikes
        if len(shown):
            box = shown[rng.integers(len(shown))]
            low, high = max(config.sizes[0], 0.08 * side), min(config.sizes[1], MAX_FILL * side)
            size = log_uniform(rng, low, high)
            scale = np.clip(size / size_of(box[None])[0], min_scale, 4.0)
            # the offset of the face's center from the middle of the tile, in pixels of the image: a face that fills the
            # tile stays in its middle, since otherwise too little of it would be left
            reach = 0.4 * max(0.2, 1 - 0.5 * size / side)
            offset = rng.uniform(-reach, reach, 2) * side / scale
            center = (box[:2] + box[2:]) / 2 - offset
        else:
            # up to the image's full size, at which a detector searches most positions
            scale = log_uniform(rng, min_scale, MAX_BACKGROUND_SCALE)
            center = rng.uniform(0, [width, height])
        center = _kept_inside(center, side / scale, (width, height))
        any_rotation = rng.random() < config.any_rotation
        roll = math.radians(rng.uniform(-180, 180) if any_rotation else rng.normal(0, config.rotation))
        crop = Crop(float(center[0]), float(center[1]), float(side / scale), Size.square(side), roll)
        matrix = crop.image_to_crop()
        return compose(mirror(side), matrix) if rng.random() < config.flip else matrix

    # ------------------------------------------------------------ the mosaic as one image

    def _paste(self, mosaic: Mosaic, rng: np.random.Generator) -> Mosaic:
        """Pastes faces of other images where there is none; the mosaic's image is changed in place."""
        canvas, boxes = mosaic.image, mosaic.boxes
        for _ in range(int(rng.integers(1, self._config.max_pasted + 1))):
            image = self._images[self._any(self._with_faces, rng)]
            box = image.boxes[image.scores.argmax()]
            scale = log_uniform(rng, *PASTED_SIZES) / size_of(box[None])[0]
            side = math.ceil(1.7 * scale * (box[2:] - box[:2]).max())
            if side >= self._size:
                continue
            corner = rng.integers(0, self._size - side, 2)
            roll = rng.normal(0, 1.5 * math.radians(self._config.rotation))
            center = (box[:2] + box[2:]) / 2
            size = Size.square(side)
            matrix = Crop(float(center[0]), float(center[1]), float(side / scale), size, roll).image_to_crop()
            pasted = transform_boxes(matrix, box[None]) + np.tile(corner, 2)
            if overlap_of_smaller(pasted[0], boxes).max(initial=0) > 0.05:
                continue
            patch = warp(self._cache.load(image.path), matrix, size)
            mask = soft_ellipse(side, scale * (box[2:] - box[:2]) * 0.62, math.degrees(-roll))[..., None]
            part = np.s_[corner[1] : corner[1] + side, corner[0] : corner[0] + side]
            canvas[part] = (mask * patch + (1 - mask) * canvas[part]).astype(np.uint8)
            boxes = np.concatenate([boxes, pasted])
        trusted = np.concatenate([mosaic.trusted, np.ones(len(boxes) - len(mosaic.boxes), bool)])
        return Mosaic(canvas, boxes, trusted)

    def _occlude(self, mosaic: Mosaic, rng: np.random.Generator) -> Mosaic:
        """Covers a part of some faces: a side, a band such as glasses, or an ellipse such as a hand, by a plain surface
        or by one of another image. The mosaic's image is changed in place.
        """
        for box in mosaic.boxes[mosaic.trusted & (size_of(mosaic.boxes) > 16)]:
            if rng.random() < self._config.occlusion:
                x1, y1, x2, y2 = np.clip(box, 0, self._size).astype(int)
                width, height = int(x2 - x1), int(y2 - y1)
                if min(width, height) < 8:
                    continue
                if rng.random() < 0.5:
                    surface = self._backdrop(max(width, height), rng)[:height, :width]
                else:
                    noise = rng.normal(0, rng.uniform(0, 30), (height, width, 3))
                    surface = np.clip(rng.integers(0, 256, 3) + noise, 0, 255).astype(np.uint8)
                mask = cover(height, width, rng)
                mosaic.image[y1:y2, x1:x2][mask] = surface[mask]
        return mosaic


def cover(height: int, width: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """[height, width] a part of a face: one side, a band across it, or an ellipse: up to two fifths, rounded."""
    mask = np.zeros((height, width), np.uint8)
    share = rng.uniform(0.15, 0.4)
    kind = int(rng.integers(6))
    if kind < 4:
        edge = round(share * (width, height)[kind % 2])
        mask[((np.s_[:, :edge]), np.s_[:edge, :], np.s_[:, width - edge :], np.s_[height - edge :, :])[kind]] = 1
    elif kind == 4:
        top, thick = rng.uniform(0.1, 0.7), rng.uniform(0.12, 0.3)
        mask[round(top * height) : round((top + thick) * height)] = 1
    else:
        aspect = math.exp(rng.uniform(-0.7, 0.7))
        reach = math.sqrt(share / math.pi * height * width)
        axes = max(1, round(reach * aspect)), max(1, round(reach / aspect))
        middle = int(rng.integers(width)), int(rng.integers(height))
        cv2.ellipse(mask, middle, axes, rng.uniform(0, 180), 0, 360, (1,), -1)
    return mask > 0


# ---------------------------------------------------------------- geometry


def corners(matrix: Matrix, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """[4, 2] the corners of an image [H, W] under a 2x3 matrix, in order around it."""
    right, bottom = shape[1] - 0.5, shape[0] - 0.5
    return transform_points(matrix, [[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]])


def soft_ellipse(side: int, radii: NDArray[np.float64], degrees: float) -> NDArray[np.float32]:
    """[side, side] 1 within an ellipse about the middle, falling to 0 across its edge.

    `radii` [2] in pixels; `degrees` clockwise from the x axis to the first radius.
    """
    mask = np.zeros((side, side), np.float32)
    axes = tuple(int(v) for v in np.maximum(1, radii.round()))
    cv2.ellipse(mask, (side // 2, side // 2), axes, degrees, 0, 360, (1.0,), -1)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.5, 0.03 * side)), np.float32)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Drawn from `low` to `high` with a uniform logarithm; `low` where it is the larger."""
    return math.exp(rng.uniform(math.log(low), math.log(max(low, high))))


def _kept_inside(center: NDArray[np.float64], extent: float, size: tuple[int, int]) -> NDArray[np.float64]:
    """A square window's center [2], moved so that the window shows as much of the image (width, height) as possible."""
    half, full = extent / 2, np.array(size, np.float64)
    low, high = np.minimum(half, full - half), np.maximum(half, full - half)
    kept: NDArray[np.float64] = np.clip(center, low, high)
    return kept
