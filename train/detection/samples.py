"""Scenes as samples and batches. Every random draw of a sample comes from (seed, epoch, photograph)."""

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
from train.detection.photographs import Photograph
from train.detection.scenes import Composer, Scene
from train.detection.targets import targets
from train.samples.augment import random_photometric

Sample = tuple[RgbImage, NDArray[np.float32], int]
"""Picture, targets, the place of its first photograph in the data set."""

MIDDLING = 40.0
"""Pixels; the size that a picture without faces is disturbed for."""


class SceneKey(NamedTuple):
    """Everything a sample depends on besides the seed."""

    epoch: int
    photograph: int


class SceneBatch(NamedTuple):
    pictures: Tensor
    """uint8 [N, S, S, 3] RGB"""
    targets: Tensor
    """float32 [N, 4, cells], see `train.detection.targets`"""
    indices: Tensor
    """int64 [N] the photographs' places in the data set, to name a batch that goes wrong"""


class SceneSamples(Dataset[Sample]):
    """Maps a SceneKey to a sample."""

    def __init__(
        self, photographs: Sequence[Photograph], config: DetectorConfig, spec: DetectorSpec, workers: int = 0
    ) -> None:
        """`workers`: processes that compose pictures, as of `ImageCache`."""
        self._config = config
        self._spec = spec
        self._composer = Composer(photographs, config.compose, config.input_size, config.trusted_score, workers)

    def __getitem__(self, key: SceneKey) -> Sample:
        rng = np.random.default_rng([self._config.seed, key.epoch, key.photograph])
        scene = self._composer.scene(key.photograph, rng)
        image = random_photometric(scene.image, small_face(scene), self._config.photometric, rng)
        return image, targets(scene, self._spec, rng), key.photograph


def small_face(scene: Scene) -> float:
    """The size in pixels that a quarter of the scene's faces fall short of."""
    sizes = size_of(scene.boxes[scene.trusted])
    return float(np.quantile(sizes, 0.25)) if len(sizes) else MIDDLING


def collate(samples: Sequence[Sample]) -> SceneBatch:
    """Stacks samples into a batch of tensors."""
    pictures, wanted, indices = zip(*samples, strict=True)
    return SceneBatch(
        torch.from_numpy(np.stack(pictures)),
        torch.from_numpy(np.stack(wanted)),
        torch.tensor(indices, dtype=torch.int64),
    )


class SceneBatches(Sampler[list[SceneKey]]):
    """Batches in an order drawn from (seed, epoch); a last batch that is not full is left out."""

    def __init__(self, photographs: int, config: DetectorConfig) -> None:
        self._photographs = photographs
        self._config = config
        self.epoch = 0

    def __len__(self) -> int:
        return max(1, self._photographs // self._config.batch_size)

    def __iter__(self) -> Iterator[list[SceneKey]]:
        order = np.random.default_rng([self._config.seed, self.epoch]).permutation(self._photographs)
        for start in range(0, len(self) * self._config.batch_size, self._config.batch_size):
            batch = order[start : start + self._config.batch_size]
            yield [SceneKey(self.epoch, int(index)) for index in batch]
