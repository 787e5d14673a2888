"""Mosaics as samples and batches. Every random draw of a sample comes from (seed, epoch, image)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from landmarks.detector import DetectorSpec
from train.datasets.boxes import size_of
from train.datasets.image import RgbImage
from train.detection.config import DetectorConfig
from train.detection.images import BoxedImage
from train.detection.mosaic import Mosaic, MosaicComposer
from train.detection.targets import targets
from train.samples.augment import random_photometric

MosaicSample = tuple[RgbImage, NDArray[np.float32], int]
"""Image, targets, and the index of its first image in the data set."""

DEFAULT_FACE_SIZE = 40.0
"""Pixels; bounds blur and downscaling in a mosaic without faces."""


class MosaicKey(NamedTuple):
    """Everything a sample depends on besides the seed."""

    epoch: int
    image: int


class MosaicBatch(NamedTuple):
    images: Tensor
    """uint8 [N, S, S, 3] RGB"""
    targets: Tensor
    """float32 [N, 4, cells], see `train.detection.targets`"""
    indices: Tensor
    """int64 [N] the first images' indices in the data set, for error messages"""


class MosaicSamples(Dataset[MosaicSample]):
    """Maps a MosaicKey to a sample."""

    def __init__(
        self, images: Sequence[BoxedImage], config: DetectorConfig, spec: DetectorSpec, workers: int = 0
    ) -> None:
        """`workers`: processes that compose mosaics, as for `ImageCache`."""
        self._config = config
        self._spec = spec
        self._composer = MosaicComposer(images, config.compose, config.input_size, config.trusted_score, workers)

    def __getitem__(self, key: MosaicKey) -> MosaicSample:
        """Raises DataError when an image cannot be read."""
        rng = np.random.default_rng([self._config.seed, key.epoch, key.image])
        mosaic = self._composer.compose(key.image, rng)
        image = random_photometric(mosaic.image, small_face_size(mosaic), self._config.photometric, rng)
        return image, targets(mosaic, self._spec, rng), key.image


def small_face_size(mosaic: Mosaic) -> float:
    """The lower quartile of the sizes of the mosaic's faces, in pixels."""
    sizes = size_of(mosaic.boxes[mosaic.trusted])
    return float(np.quantile(sizes, 0.25)) if len(sizes) else DEFAULT_FACE_SIZE


def collate(samples: Sequence[MosaicSample]) -> MosaicBatch:
    """Stacks samples into a batch of tensors."""
    images, all_targets, indices = zip(*samples, strict=True)
    return MosaicBatch(
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack(all_targets)),
        torch.tensor(indices, dtype=torch.int64),
    )


class MosaicBatches(Sampler[list[MosaicKey]]):
    """Batches in an order drawn from (seed, epoch); a last batch that is not full is left out."""

    def __init__(self, first: int, more: int, config: DetectorConfig) -> None:
        """`first`, `more`: images of the first data set and of all others; those of the first come first."""
        self._first = first
        self._more = more
        self._drawn = round(config.extra_data_fraction * more)
        self._config = config
        self.epoch = 0

    def __len__(self) -> int:
        return max(1, (self._first + self._drawn) // self._config.batch_size)

    def __iter__(self) -> Iterator[list[MosaicKey]]:
        rng = np.random.default_rng([self._config.seed, self.epoch])
        drawn = self._first + rng.permutation(self._more)[: self._drawn]
        order = rng.permutation(np.concatenate([np.arange(self._first), drawn]))
        for start in range(0, len(self) * self._config.batch_size, self._config.batch_size):
            batch = order[start : start + self._config.batch_size]
            yield [MosaicKey(self.epoch, int(index)) for index in batch]
