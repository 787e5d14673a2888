"""What the service answers, as values. Pixels: (0, 0) is the centre of the top-left pixel of the image as shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Face:
    """One face. A field that the request omitted has no rows."""

    box: Floats
    """[4] xyxy, pixels: what the face was cropped by."""
    box_source: str
    """"given" or "detected"."""
    box_score: float | None
    """The detector's confidence in [0, 1]; None for a given box."""
    score: float
    """About how likely, in [0, 1], the points err by less than 10 % of the inter-ocular distance."""
    inter_ocular: float
    """Distance between the outer corners of the eyes, pixels."""
    points: Floats
    """float32 [98, 2]: x, y in pixels."""
    scores: Floats
    """float32 [98] in [0, 1]: the confidence of each point."""
    covariances: Floats
    """float32 [98, 3]: xx, xy, yy of each point, pixels squared."""

    @property
    def covariance_matrices(self) -> Floats:
        """float32 [98, 2, 2], pixels squared."""
        return self.covariances[:, [[0, 1], [1, 2]]]


@dataclass(frozen=True)
class Model:
    """The network that answered."""

    name: str
    version: str
    provenance: str
    """"sha256:..." of the model file."""


@dataclass(frozen=True)
class AnswerWarning:
    """What the caller should know of how the image was read. `code` is stable."""

    code: str
    message: str


@dataclass(frozen=True, eq=False)
class Answer:
    """Every face of one image: the largest first, or in the order of the boxes given."""

    request_id: str
    model: Model
    width: int
    """Pixels, of the image as shown."""
    height: int
    faces: tuple[Face, ...]
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds in each stage; empty where the request omitted them."""
    warnings: tuple[AnswerWarning, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The answer in the words of the wire, its numbers float32: arrays, and NumPy scalars."""
        body: dict[str, Any] = {
            "request_id": self.request_id,
            "model": vars(self.model).copy(),
            "image": {"width": self.width, "height": self.height},
            "faces": [_face_dict(face) for face in self.faces],
        }
        if self.timings_ms:
            body["timings_ms"] = dict(self.timings_ms)
        return body | {"warnings": [vars(warning).copy() for warning in self.warnings]}


@dataclass(frozen=True)
class ModelDescription:
    """What a served model is, and what it was trained for."""

    name: str
    """What the option `model` takes."""
    version: str
    provenance: str
    layout: str
    """Names and order of the points: "wflw98"."""
    input_size: int
    """Side of the square crop that the network sees, pixels."""
    crop_scale: float
    """Side of the crop over the longer side of the face's box."""
    topk: int
    """Heatmap cells averaged for a point unless a request says otherwise."""
    decoders: tuple[str, ...]
    run_id: str
    data: tuple[str, ...]
    """Names of the data sets trained on."""
    degrees_of_freedom: Mapping[str, float]
    """How heavy the tails of the errors are, by group of the layout: what a covariance's ellipse needs beside it."""


def floats(values: Any, *shape: int) -> Floats:
    """Numbers of the wire as float32 of this shape, -1 for the number of points."""
    return np.array(values, np.float32).reshape(shape)


def single(value: Any) -> float:
    """A float32 of the wire. JSON's shortest digits and protobuf's bits give the same number."""
    return float(np.float32(value))


def _face_dict(face: Face) -> dict[str, Any]:
    body: dict[str, Any] = {
        "box": face.box,
        "box_source": face.box_source,
        "box_score": None if face.box_score is None else np.float32(face.box_score),
        "score": np.float32(face.score),
        "inter_ocular": np.float32(face.inter_ocular),
    }
    large = {"points": face.points, "scores": face.scores, "covariances": face.covariances}
    return body | {name: values for name, values in large.items() if len(values)}
