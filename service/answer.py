"""The domain types of an answer: what the pipeline makes, and what both APIs, the metrics and the command line read.

Both APIs send the fields of the proto's messages, which they find here by the same names: `service.wire.json` walks
`DetectResponse` and takes `Answer.faces` for its `faces`, and so on. What the proto does not name is not sent.
This module stands at the bottom of the package: it imports nothing of `service`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from landmarks.metadata import ModelMetadata

Floats = NDArray[np.float32]

Role = Literal["primary", "candidate"]
"""The part that a model plays in a rollout: the model that serves, or the one that is tried out beside it."""

STAGES: Final = ("decode", "detect", "crop", "infer", "total")
"""The stages of a request that are timed, in the order in which an answer lists them."""


@dataclass(frozen=True)
class ServedModel:
    """The model that answers."""

    name: str
    version: str
    provenance: str
    """`sha256:<hex>` of the model file."""
    metadata: ModelMetadata


@dataclass(frozen=True)
class ImageWarning:
    """Something that the caller should know about how the image file was read. `code` is stable."""

    code: str
    message: str


@dataclass(frozen=True)
class ImageSize:
    """Pixels of an image as it is shown, after its EXIF orientation."""

    width: int
    height: int


@dataclass(frozen=True)
class Region:
    """The box of one face in an image, and where the box comes from."""

    box: Floats
    """[4] float32: x1, y1, x2, y2 in image pixels."""
    box_source: Literal["given", "detected"]
    box_score: np.float32 | None
    """The detector's score in [0, 1]; None for a box that the caller gave."""


@dataclass(frozen=True)
class Face(Region):
    """A region and the landmarks of the face in it. P is the number of points in the layout of the model that answered.

    Every number is a float32, so that REST and gRPC give the same values.
    """

    score: np.float32
    """In [0, 1]: about the probability that the points are right; see `landmarks.uncertainty.FaceScorer`."""
    inter_ocular: np.float32
    """Image pixels between the outer corners of the eyes, or what `PointLayout.inter_ocular` puts in their place."""
    points: Floats
    """[P, 2] float32: x, y in image pixels."""
    scores: Floats
    """[P] float32 in [0, 1]."""
    covariances: Floats
    """[P, 3] float32: xx, xy, yy in image pixels squared."""
    visibility: Floats = field(default_factory=lambda: np.empty(0, np.float32))
    """[P] float32 in [0, 1]: the probability that each point is seen; [0] where the model does not state it."""
    passes: int = 1
    """Crops that were answered one after the other: see `landmarks.second_pass`."""


@dataclass(frozen=True)
class Answer:
    """The faces of one image, and how they were found."""

    model: ServedModel
    image: ImageSize
    faces: tuple[Face, ...]
    timings_ms: dict[str, float]
    """Milliseconds spent in each of STAGES."""
    warnings: tuple[ImageWarning, ...] = ()
    omit: frozenset[str] = frozenset()
    """Names of the fields (`service.request.OMITTABLE`) that the caller asked to leave out."""
    role: Role = "primary"
    """The part that `model` plays in the rollout."""
    rejected: int = 0
    """Detected boxes that are not answered because the score of their points is too low."""


def count_faces(outcomes: Iterable[object]) -> int:
    """The faces of the answers among the outcomes of a batch."""
    return sum(len(outcome.faces) for outcome in outcomes if isinstance(outcome, Answer))
