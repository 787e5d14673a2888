"""A face -> a training sample: one warp, then changes of colour, then randomized rounding.

Every random draw of a sample comes from (seed, epoch, index): the sample does not depend on the worker that makes it,
nor on where a run was interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from landmarks.crop import Crop, Matrix, compose, mirror, transform_points, warp
from landmarks.layout import WFLW98, PointLayout
from train.config import Augment, Config
from train.datasets.face import Face, Image, Photo, read_photo
from train.errors import ConfigError
from train.objectives import objective_of
from train.samples.photometric import disturb, jitter_colour

CACHED: Final = 6 << 30
"""Bytes of decoded photographs that the workers of a training process keep, all together."""


class PhotoCache:
    """Photographs as RGB [H, W, 3], kept decoded up to a limit in bytes.

    Each of `workers` processes has a cache of its own: one of them keeps its share of the limit.
    """

    def __init__(self, limit: int = CACHED, workers: int = 0) -> None:
        self._limit = limit // max(1, workers)
        self._held = 0
        self._photos: dict[Photo, Image] = {}

    def load(self, photo: Photo) -> Image:
        """Raises DataError when there is no readable picture."""
        if photo in self._photos:
            return self._photos[photo]
        pixels = read_photo(photo)
        if self._held + pixels.nbytes <= self._limit:
            self._photos[photo] = pixels
            self._held += pixels.nbytes
        return pixels


# ---------------------------------------------------------------- augmentation

FALL: Final = 90.0
"""Degrees that a head rolls at most when it falls over."""
FINE: Final = 0.5
"""Share of the crop that what blurs and coarsens takes for the size of the face, whose finer parts have to last."""


def random_crop(
    box: NDArray[np.float64], scale: float, size: int, augment: Augment, rng: np.random.Generator
) -> tuple[Matrix, bool]:
    """The image -> crop matrix of a randomly turned, scaled, shifted and perhaps mirrored crop; whether mirrored."""
    plain = Crop.around(box, scale, size)
    reach = augment.shift / 256 * plain.side
    dx, dy, zoom, roll = rng.uniform(-1, 1, 4)
    crop = Crop(
        plain.center_x + reach * dx,
        plain.center_y + reach * dy,
        plain.side * (1 + augment.scale * zoom),
        size,
        math.radians((FALL if augment.fall and rng.random() < augment.fall else augment.rotation) * roll),
    )
    flipped = bool(rng.random() < augment.flip)
    matrix = crop.image_to_crop()
    return (compose(mirror(size), matrix) if flipped else matrix), flipped


def erase(crop: Image, probability: float, rng: np.random.Generator) -> Image:
    """With some probability, one rectangle of 2 to 20 % of the area becomes noise; the crop is changed in place."""
    if rng.random() < probability:
        size = len(crop)
        area, aspect = rng.uniform(0.02, 0.2) * size * size, math.exp(rng.uniform(-1.2, 1.2))
        height, width = (min(size - 1, round(math.sqrt(area * f))) for f in (aspect, 1 / aspect))
        top, left = (int(rng.integers(0, size - extent)) for extent in (height, width))
        crop[top : top + height, left : left + width] = rng.integers(0, 256, (height, width, 3), np.uint8)
    return crop


def occlude(crop: Image, probability: float, rng: np.random.Generator) -> Image:
    """With some probability, one ellipse of 3 to 25 % of the area shows another part of the crop, upside down."""
    if not probability or rng.random() >= probability:
        return crop
    size = len(crop)
    area, aspect = rng.uniform(0.03, 0.25) * size * size, math.exp(rng.uniform(-1, 1))
    axes = (round(math.sqrt(area / math.pi * f)) for f in (aspect, 1 / aspect))
    middle, angle = rng.integers(0, size, 2).tolist(), float(rng.uniform(0, 180))
    mask = cv2.ellipse(np.zeros((size, size), np.uint8), middle, tuple(axes), angle, 0, 360, (1,), cv2.FILLED)
    elsewhere = np.roll(crop[::-1], rng.integers(0, size, 2), axis=(0, 1))
    return np.where(mask[..., None] > 0, elsewhere, crop)


def recolour(crop: Image, augment: Augment, rng: np.random.Generator) -> Image:
    """Changes of colour, and of sharpness where they are asked for."""
    if augment.photometric:
        return disturb(crop, FINE * len(crop), augment.photometric, rng)
    return jitter_colour(crop, augment, rng)


# ---------------------------------------------------------------- samples


Sample = tuple[Image, NDArray[Any], int]
"""Crop, targets of the objective, the face's place in the data set."""


class Batch(NamedTuple):
    crops: Tensor
    """uint8 [N, S, S, 3] RGB"""
    targets: Tensor
    """[N, points, ...] as the objective makes them: for cells int64 row * cells + column, OUTSIDE beyond the map"""
    indices: Tensor
    """int64 [N] the faces' places in the data set, to name a batch that goes wrong"""


class SampleKey(NamedTuple):
    """Which face, in which epoch, at which crop size: everything a sample depends on besides the seed."""

    epoch: int
    face: int
    input_size: int


class TrainingSamples(Dataset[Sample]):
    """Maps a SampleKey to (crop, targets, index)."""

    def __init__(self, faces: Sequence[Face], config: Config, layout: PointLayout = WFLW98, workers: int = 0) -> None:
        """`workers`: processes that make samples, as of `PhotoCache`."""
        self._faces = faces
        self._config = config
        self._objective = objective_of(config)
        self._flip = list(layout.flip)
        self._photos = PhotoCache(workers=workers)

    def __getitem__(self, key: SampleKey) -> Sample:
        config, face = self._config, self._faces[key.face]
        rng = np.random.default_rng([config.seed, key.epoch, key.face])
        matrix, flipped = random_crop(face.box_of(config.boxes), config.crop_scale, key.input_size, config.augment, rng)
        crop = warp(self._photos.load(face.image), matrix, key.input_size)
        crop = recolour(occlude(crop, config.augment.occlude, rng), config.augment, rng)
        crop = erase(crop, config.augment.erasing, rng)
        points = transform_points(matrix, face.points)
        points = points[self._flip] if flipped else points
        return crop, self._objective.targets(points, config.codec(key.input_size), rng), key.face


def collate(samples: Sequence[Sample]) -> Batch:
    """Stacks samples into a batch of tensors."""
    crops, targets, indices = zip(*samples, strict=True)
    return Batch(
        torch.from_numpy(np.stack(crops)), torch.from_numpy(np.stack(targets)), torch.tensor(indices, dtype=torch.int64)
    )


class EpochBatches(Sampler[list[SampleKey]]):
    """Batches of sample keys in an order drawn from (seed, epoch); a last batch that is not full is left out.

    An epoch shows `faces` faces and, drawn anew, the configured share of the `further` ones after them. Of several
    processes, each takes its own slice of every batch. Raises ConfigError unless the slices are equal.
    """

    def __init__(self, faces: int, config: Config, rank: int = 0, processes: int = 1, further: int = 0) -> None:
        size = config.batch_size
        shown = faces + round(config.further * further)
        if size % processes:
            raise ConfigError(f"batch_size: {size} faces cannot be split evenly among {processes} processes")
        if processes > 1 and shown < size:
            raise ConfigError(f"batch_size: several processes need a full batch of {size}, but there are {shown} faces")
        self._faces = faces
        self._further = further
        self._shown = shown
        self._config = config
        self._slice = slice(rank * size // processes, (rank + 1) * size // processes)
        self.epoch = 0

    def __len__(self) -> int:
        return max(1, self._shown // self._config.batch_size)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        size = self._config.stage_at(self.epoch).input_size
        rng = np.random.default_rng([self._config.seed, self.epoch])
        drawn = self._faces + rng.permutation(self._further)[: self._shown - self._faces]
        order = rng.permutation(np.concatenate([np.arange(self._faces), drawn]))
        for start in range(0, len(self) * self._config.batch_size, self._config.batch_size):
            batch = order[start : start + self._config.batch_size]
            yield [SampleKey(self.epoch, int(index), size) for index in batch[self._slice]]
