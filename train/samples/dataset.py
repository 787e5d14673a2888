"""Faces -> training samples and batches: an augmented crop and its targets.

Every random draw of a sample comes from (seed, epoch, index): the sample does not depend on the worker that makes it,
nor on where a run was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from landmarks.crop import transform_points
from landmarks.layout import WFLW98, PointLayout
from landmarks.size import Size
from train.config import Config
from train.datasets.face import AnnotatedFace
from train.datasets.image import RgbImage
from train.errors import ConfigError
from train.objectives import objective_of
from train.samples.augment import augmented_crop
from train.samples.image_cache import ImageCache


class Sample(NamedTuple):
    """What a worker process makes of a face."""

    crop: RgbImage
    """RGB uint8 [H, W, 3]"""
    targets: NDArray[Any]
    """Of the objective, [P, ...]."""
    weights: NDArray[np.float32]
    """[P] how much each point counts in the loss, 0 to 1."""
    face: int
    """The face's index in the data set."""


class Batch(NamedTuple):
    crops: Tensor
    """uint8 [N, H, W, 3] RGB"""
    targets: Tensor
    """[N, P, ...] as the objective makes them: for cells int64 row * columns + column, OUTSIDE beyond the map"""
    weights: Tensor
    """float32 [N, P] how much each point counts in the loss, 0 to 1"""
    indices: Tensor
    """int64 [N] the faces' indices in the data set, for error messages"""


class SampleKey(NamedTuple):
    """Which face, in which epoch, at which crop size: everything a sample depends on besides the seed."""

    epoch: int
    face: int
    input_size: Size


class TrainingSamples(Dataset[Sample]):
    """Maps a SampleKey to a Sample."""

    def __init__(
        self, faces: Sequence[AnnotatedFace], config: Config, layout: PointLayout = WFLW98, workers: int = 0
    ) -> None:
        """`workers`: processes that make samples, as for `ImageCache`."""
        self._faces = faces
        self._config = config
        self._objective = objective_of(config)
        self._flip = list(layout.flip)
        self._images = ImageCache(workers=workers)

    def __getitem__(self, key: SampleKey) -> Sample:
        """Raises DataError when the face's image cannot be read."""
        config, face = self._config, self._faces[key.face]
        rng = np.random.default_rng([config.seed, key.epoch, key.face])
        image, box = self._images.load(face.image), face.box_of(config.boxes)
        crop = augmented_crop(image, box, config.crop_scale, key.input_size, config.augment, rng)
        points, weights = transform_points(crop.matrix, face.points), face.point_weights.astype(np.float32)
        if crop.mirrored:
            points, weights = points[self._flip], weights[self._flip]
        return Sample(
            crop.pixels, self._objective.targets(points, config.codec(key.input_size), rng), weights, key.face
        )


def collate(samples: Sequence[Sample]) -> Batch:
    """Stacks samples into a batch of tensors."""
    crops, targets, weights, faces = zip(*samples, strict=True)
    crops, targets, weights = (torch.from_numpy(np.stack(each)) for each in (crops, targets, weights))
    return Batch(crops, targets, weights, torch.tensor(faces, dtype=torch.int64))


class EpochBatches(Sampler[list[SampleKey]]):
    """Batches of sample keys in an order drawn from (seed, epoch); a last batch that is not full is left out.

    An epoch shows `faces` faces and, drawn anew, the configured share of each of the `extra` sets after them. Of
    several processes, each takes its own slice of every batch. Raises ConfigError unless the slices are equal.
    """

    def __init__(
        self, faces: int, config: Config, rank: int = 0, processes: int = 1, extra: Sequence[int] = ()
    ) -> None:
        """`extra`: the number of faces of each further data set."""
        size = config.batch_size
        shares = zip(extra, config.extra_fractions(len(extra)), strict=True)
        drawn = [(count, round(share * count)) for count, share in shares]
        shown = faces + sum(chosen for _, chosen in drawn)
        if size % processes:
            raise ConfigError(f"batch_size: {size} faces cannot be split evenly among {processes} processes")
        if processes > 1 and shown < size:
            raise ConfigError(f"batch_size: several processes need a full batch of {size}, but there are {shown} faces")
        self._faces = faces
        self._drawn = drawn
        self._shown = shown
        self._config = config
        self._slice = slice(rank * size // processes, (rank + 1) * size // processes)
        self.epoch = 0

    def __len__(self) -> int:
        return max(1, self._shown // self._config.batch_size)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        size = self._config.stage_at(self.epoch).input_size
        rng = np.random.default_rng([self._config.seed, self.epoch])
        parts, start = [np.arange(self._faces)], self._faces
        for count, chosen in self._drawn:
            parts.append(start + rng.permutation(count)[:chosen])
            start += count
        order = rng.permutation(np.concatenate(parts))
        for start in range(0, len(self) * self._config.batch_size, self._config.batch_size):
            batch = order[start : start + self._config.batch_size]
            yield [SampleKey(self.epoch, int(index), size) for index in batch[self._slice]]
