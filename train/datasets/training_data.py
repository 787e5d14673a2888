"""The faces that a run is trained on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np

from landmarks.crop import Crop
from landmarks.layout import WFLW98, PointLayout
from landmarks.metadata import PointsCrop
from landmarks.second_pass import crop_by_points
from train.config import Config
from train.datasets.face import AnnotatedFace
from train.datasets.held_out import split_sets
from train.datasets.source import DataSource
from train.errors import ConfigError


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Faces to train on and where they come from."""

    names: tuple[str, ...]
    """Labels of the data sets, as a model's metadata report them."""
    faces: list[AnnotatedFace]
    layout: PointLayout = WFLW98
    """The layout of the faces' points."""
    extra: Sequence[Sequence[AnnotatedFace]] = ()
    """The faces of each data set after the first, of which an epoch shows the share that the configuration says."""

    @property
    def every_face(self) -> list[AnnotatedFace]:
        """All faces, in the order by which a sample is named."""
        return [*self.faces, *chain.from_iterable(self.extra)]

    def facts(self, config: Config) -> dict[str, Any]:
        """What a run's description says of them."""
        crop = points_crop(self.every_face, self.layout, config)
        return {"faces": len(self.every_face), "layout": self.layout.name, "points_crop": crop and asdict(crop)}

    @property
    def fingerprint(self) -> str:
        """`sha256:<hex>` over every image's name, points and box, in order."""
        digest = hashlib.sha256()
        for face in self.every_face:
            digest.update(face.image.name.encode() + face.points.tobytes() + face.box.tobytes())
            if face.weights is not None:
                digest.update(face.weights.tobytes())
        return f"sha256:{digest.hexdigest()}"


def points_crop(faces: Sequence[AnnotatedFace], layout: PointLayout, config: Config) -> PointsCrop | None:
    """Where the crops of training lie about the upright points of the faces, in the median; None for other than faces.

    A face without all of its points does not count.
    """
    complete = [face for face in faces if not np.isnan(face.points).any()]
    if layout.upright is None or not complete:
        return None
    unit, size = PointsCrop(1.0, 0.0), config.stages[-1].input_size
    scales, rises = [], []
    for face in complete:
        crop = Crop.around(face.box_of(config.boxes), config.crop_scale, size)
        about = crop_by_points(face.points, unit, layout, size)
        if about is not None:
            down = np.array([-math.sin(about.roll), math.cos(about.roll)])
            offset = np.array([about.center_x - crop.center_x, about.center_y - crop.center_y])
            scales.append(crop.side / about.side)
            rises.append(float(offset @ down) / crop.side)
    return PointsCrop(round(float(np.median(scales)), 3), round(float(np.median(rises)), 3))


def training_data(sources: Sequence[DataSource], config: Config) -> TrainingData:
    """The faces of the first source and of the others, without those of images that are held out.

    Of the first source as many as the configuration says. Raises ConfigError where it has fewer.
    """
    kept = [faces for faces, _ in split_sets([source.train_faces() for source in sources], config.held_out)]
    faces, *extra = kept
    if config.samples is not None:
        faces = subset(faces, config.samples, config.seed)
    return TrainingData(tuple(dict.fromkeys(s.label for s in sources)), faces, sources[0].layout, extra)


def subset(faces: Sequence[AnnotatedFace], samples: int, seed: int) -> list[AnnotatedFace]:
    """So many of the faces, in their order: the first of a permutation drawn from the seed, so that smaller subsets are
    parts of larger ones. Raises ConfigError where there are fewer faces.
    """
    if samples > len(faces):
        raise ConfigError(f"samples: {samples} faces are asked for, but the data set has {len(faces)} to train on")
    chosen = np.random.default_rng(seed).permutation(len(faces))[:samples]
    return [faces[i] for i in sorted(chosen.tolist())]
