"""Training pictures, composed of photographs: mosaics, faces put in from elsewhere, faces partly hidden.

The photographs show few faces, and large ones; mosaics of up to 8 x 8 make crowds of small ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from landmarks.crop import Crop, Matrix, compose, mirror, transform_points, warp
from train.datasets.boxes import Boxes, area_of, size_of
from train.datasets.image import RgbImage
from train.detection.config import Compose
from train.detection.photographs import Photograph
from train.samples.image_cache import ImageCache

SEEN = 0.5
"""A box of which at least this share lies within its tile is a face to find: what is seen of it, as a detector boxes
the faces that a photograph's edge cuts."""
GLIMPSED = 0.15
"""Between this share and SEEN it is neither face nor background; below, background."""
LEAST_COVER = 0.8
"""Least share of a tile's side that its photograph covers: smaller faces come from smaller tiles."""
BACKDROP_FROM = 100
"""Smallest tile in pixels where what its photograph leaves black may be filled from another."""
LARGEST_BACKGROUND = 1.25
"""Largest magnification of a part of a photograph that is taken wherever it falls."""
PASTED = (9.0, 110.0)
"""Sizes of faces that are put in, in pixels."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture and its faces."""

    image: RgbImage
    boxes: Boxes
    """[N, 4] xyxy"""
    trusted: NDArray[np.bool_]
    """[N] whether the box is a face to find; otherwise it is neither face nor background."""


class Composer:
    """Makes scenes of photographs."""

    def __init__(
        self, photographs: Sequence[Photograph], config: Compose, size: int, trusted_score: float, workers: int = 0
    ) -> None:
        """Scenes of `size` pixels. `workers`: processes that compose, as of `ImageCache`."""
        self._photographs = photographs
        self._config = config
        self._size = size
        self._trusted_score = trusted_score
        self._with_faces = [i for i, photo in enumerate(photographs) if (photo.scores >= trusted_score).any()]
        self._photos = ImageCache(workers=workers)

    def scene(self, first: int, rng: np.random.Generator) -> Scene:
        """A mosaic with photograph number `first` in one of its tiles."""
        counts, weights = zip(*sorted(self._config.tiles.items()), strict=True)
        count = int(rng.choice(counts, p=np.array(weights) / sum(weights)))
        edges = np.linspace(0, self._size, count + 1).round().astype(int)
        canvas = np.zeros((self._size, self._size, 3), np.uint8)
        boxes, trusted = [np.zeros((0, 4))], [np.zeros(0, bool)]
        turn = int(rng.integers(count * count))
        for place in range(count * count):
            row, column = divmod(place, count)
            (top, bottom), (left, right) = edges[row : row + 2], edges[column : column + 2]
            side = max(bottom - top, right - left)
            index = first if place == turn else int(rng.choice(self._with_faces))
            tile = self._tile(self._photographs[index], int(side), rng)
            canvas[top:bottom, left:right] = tile.image[: bottom - top, : right - left]
            boxes.append(tile.boxes + np.array([left, top, left, top]))
            trusted.append(tile.trusted)
        scene = Scene(canvas, np.concatenate(boxes), np.concatenate(trusted))
        if rng.random() < self._config.paste:
            scene = self._paste(scene, rng)
        return self._occlude(scene, rng)

    # ------------------------------------------------------------ one tile

    def _tile(self, photo: Photograph, side: int, rng: np.random.Generator) -> Scene:
        pixels = self._photos.load(photo.path)
        matrix = self._view(photo, pixels.shape[:2], side, rng)
        tile = warp(pixels, matrix, side)
        if side > BACKDROP_FROM and rng.random() < self._config.backdrop:
            beyond = np.ones((side, side), np.uint8)
            cv2.fillConvexPoly(beyond, corners(matrix, pixels.shape[:2]).round().astype(np.int32), (0,))
            cv2.copyTo(self._backdrop(side, rng), beyond, tile)
        boxes = transform_boxes(matrix, photo.boxes)
        seen = share_within(boxes, side)
        kept = seen >= GLIMPSED
        trusted = (photo.scores >= self._trusted_score) & (seen >= SEEN)
        return Scene(tile, clipped(boxes, side)[kept], trusted[kept])

    def _backdrop(self, side: int, rng: np.random.Generator) -> RgbImage:
        """A part of some photograph without a face, or black where none is soon found."""
        photo = self._photographs[int(rng.integers(len(self._photographs)))]
        pixels = self._photos.load(photo.path)
        height, width = pixels.shape[:2]
        for _ in range(8):
            extent = rng.uniform(0.2, 0.8) * min(height, width)
            low = rng.uniform(0, [width - extent, height - extent])
            if not overlap_share(np.concatenate([low, low + extent]), photo.boxes).any():
                middle = low + extent / 2
                return warp(pixels, Crop(float(middle[0]), float(middle[1]), extent, side).image_to_crop(), side)
        return np.zeros((side, side, 3), np.uint8)

    def _view(self, photo: Photograph, shape: tuple[int, ...], side: int, rng: np.random.Generator) -> Matrix:
        """From the photograph to a tile: about one of its faces, or anywhere."""
        config = self._config
        height, width = shape
        zoom_out = LEAST_COVER * side / max(height, width)
        faces = np.flatnonzero(photo.scores >= self._trusted_score)
        if len(faces) and rng.random() >= config.background:
            box = photo.boxes[rng.choice(faces)]
            low, high = max(config.sizes[0], 0.08 * side), min(config.sizes[1], 1.05 * side)
            scale = np.clip(log_uniform(rng, low, high) / size_of(box[None])[0], zoom_out, 4.0)
            # where in the tile the face's centre lies
            place = (rng.uniform(0.1, 0.9, 2) - 0.5) * side / scale
            centre = (box[:2] + box[2:]) / 2 - place
        else:
            # up to its full size, where most of the places are that a picture is searched for faces
            scale = log_uniform(rng, zoom_out, LARGEST_BACKGROUND)
            centre = rng.uniform(0, [width, height])
        centre = _kept_on(centre, side / scale, (width, height))
        roll = math.radians(
            rng.uniform(-180, 180) if rng.random() < config.any_rotation else rng.normal(0, config.rotation)
        )
        matrix = Crop(float(centre[0]), float(centre[1]), float(side / scale), side, roll).image_to_crop()
        return compose(mirror(side), matrix) if rng.random() < config.flip else matrix

    # ------------------------------------------------------------ changes to the whole

    def _paste(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """Puts faces of other photographs where there is none."""
        canvas, boxes = scene.image, scene.boxes
        for _ in range(int(rng.integers(1, self._config.max_pasted + 1))):
            photo = self._photographs[int(rng.choice(self._with_faces))]
            box = photo.boxes[photo.scores.argmax()]
            scale = log_uniform(rng, *PASTED) / size_of(box[None])[0]
            side = math.ceil(1.7 * scale * (box[2:] - box[:2]).max())
            if side >= self._size:
                continue
            corner = rng.integers(0, self._size - side, 2)
            roll = rng.normal(0, 1.5 * math.radians(self._config.rotation))
            middle = (box[:2] + box[2:]) / 2
            matrix = Crop(float(middle[0]), float(middle[1]), float(side / scale), side, roll).image_to_crop()
            placed = transform_boxes(matrix, box[None]) + np.tile(corner, 2)
            if overlap_share(placed[0], boxes).max(initial=0) > 0.05:
                continue
            patch = warp(self._photos.load(photo.path), matrix, side)
            mask = soft_ellipse(side, scale * (box[2:] - box[:2]) * 0.62, math.degrees(-roll))[..., None]
            part = np.s_[corner[1] : corner[1] + side, corner[0] : corner[0] + side]
            canvas[part] = (mask * patch + (1 - mask) * canvas[part]).astype(np.uint8)
            boxes = np.concatenate([boxes, placed])
        trusted = np.concatenate([scene.trusted, np.ones(len(boxes) - len(scene.boxes), bool)])
        return Scene(canvas, boxes, trusted)

    def _occlude(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """Hides up to two fifths of some faces behind a plain surface; the picture is changed in place."""
        for box in scene.boxes[scene.trusted & (size_of(scene.boxes) > 16)]:
            if rng.random() < self._config.occlusion:
                x1, y1, x2, y2 = np.clip(box, 0, self._size).astype(int)
                depth = rng.uniform(0.15, 0.4)
                across, down = int(depth * (x2 - x1)), int(depth * (y2 - y1))
                covers = [(x1, y1, x1 + across, y2), (x2 - across, y1, x2, y2), (x1, y1, x2, y1 + down)]
                left, top, right, bottom = (*covers, (x1, y2 - down, x2, y2))[rng.integers(4)]
                surface = rng.integers(0, 256, 3) + rng.normal(0, rng.uniform(0, 30), (bottom - top, right - left, 3))
                scene.image[top:bottom, left:right] = np.clip(surface, 0, 255).astype(np.uint8)
        return scene


# ---------------------------------------------------------------- geometry


def transform_boxes(matrix: Matrix, boxes: Boxes) -> Boxes:
    """Boxes [N, 4] under a 2x3 matrix: the upright boxes about the ellipses that the old boxes hold.

    A face fills its box as an ellipse does, so a turned face gets the box that a detector would give it.
    """
    centres = transform_points(matrix, (boxes[:, :2] + boxes[:, 2:]) / 2)
    halves = (boxes[:, None, 2:] - boxes[:, None, :2]) / 2
    reach = np.sqrt(((matrix[:, :2] * halves) ** 2).sum(axis=2))
    return np.concatenate([centres - reach, centres + reach], axis=1)


def share_within(boxes: Boxes, side: int) -> NDArray[np.float64]:
    """[N] the share of each box that lies on a square picture."""
    return area_of(clipped(boxes, side)) / area_of(boxes)


def clipped(boxes: Boxes, side: int) -> Boxes:
    """The parts of boxes [N, 4] that lie on a square picture."""
    return np.clip(boxes, -0.5, side - 0.5)


def overlap_share(box: NDArray[np.float64], others: Boxes) -> NDArray[np.float64]:
    """[N] the area that a box shares with each of the others, over the smaller of the two areas."""
    shared = (np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])).clip(0).prod(axis=1)
    smaller = np.minimum(area_of(box[None]), area_of(others))
    shares: NDArray[np.float64] = shared / smaller
    return shares


def corners(matrix: Matrix, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """[4, 2] where the corners of a photograph [H, W] lie under a matrix, in order about it."""
    right, bottom = shape[1] - 0.5, shape[0] - 0.5
    return transform_points(matrix, [[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]])


def soft_ellipse(side: int, radii: NDArray[np.float64], degrees: float) -> NDArray[np.float32]:
    """[side, side] one within an ellipse about the middle, falling to zero across its edge."""
    mask = np.zeros((side, side), np.float32)
    axes = tuple(int(v) for v in np.maximum(1, radii.round()))
    cv2.ellipse(mask, (side // 2, side // 2), axes, degrees, 0, 360, (1.0,), -1)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.5, 0.03 * side)), np.float32)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """As likely between 10 and 20 as between 100 and 200."""
    return math.exp(rng.uniform(math.log(low), math.log(max(low, high))))


def _kept_on(centre: NDArray[np.float64], extent: float, size: tuple[int, int]) -> NDArray[np.float64]:
    """A window's centre, moved so that the window shows as much of the photograph as it can hold."""
    half, whole = extent / 2, np.array(size, np.float64)
    low, high = np.minimum(half, whole - half), np.maximum(half, whole - half)
    kept: NDArray[np.float64] = np.clip(centre, low, high)
    return kept
