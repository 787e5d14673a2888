"""The faces that a run is trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from landmarks.layout import WFLW98, PointLayout
from train.config import Config
from train.datasets.face import AnnotatedFace
from train.datasets.held_out import split_by_name, without
from train.datasets.source import DataSource


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Faces to train on and where they come from."""

    names: tuple[str, ...]
    """Data sets by name, as a model's metadata reports them."""
    faces: list[AnnotatedFace]
    layout: PointLayout = WFLW98
    """The layout of the faces' points."""
    extra_faces: Sequence[AnnotatedFace] = ()
    """Faces of which an epoch shows the share that the configuration says: those of the data sets after the first."""

    @property
    def every_face(self) -> list[AnnotatedFace]:
        """All faces, in the order by which a sample is named."""
        return [*self.faces, *self.extra_faces]

    @property
    def facts(self) -> dict[str, Any]:
        """What a run's description says of them."""
        return {"faces": len(self.every_face), "layout": self.layout.name}

    @property
    def fingerprint(self) -> str:
        """`sha256:<hex>` over every image's name, points and box, in order."""
        digest = hashlib.sha256()
        for face in self.every_face:
            digest.update(face.image.name.encode() + face.points.tobytes() + face.box.tobytes())
        return f"sha256:{digest.hexdigest()}"


def training_data(sources: Sequence[DataSource], config: Config) -> TrainingData:
    """The faces of the first source and of the others, without those of images that are held out."""
    faces, out = split_by_name(sources[0].train_faces(), config.held_out)
    extra = without([face for source in sources[1:] for face in source.train_faces()], out)
    return TrainingData(tuple(dict.fromkeys(s.name for s in sources)), faces, sources[0].layout, extra)
