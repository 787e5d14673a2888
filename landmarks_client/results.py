"""The service's answers as values. Pixels: (0, 0) is the centre of the top-left pixel of the image as displayed.

Shapes: N is the number of points of the model's layout (98 for "wflw98"), or 0 where the request omitted the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False, repr=False)
class Face:
    """One face. A field that the request omitted has no rows."""

    box: Floats
    """float32 [4]: xyxy in pixels, the box that the crop was computed from."""
    box_source: str
    """"given" or "detected"."""
    box_score: float | None
    """The detector's confidence in [0, 1] that the box holds a face; None for a given box."""
    score: float
    """Approximate probability in [0, 1] that the points err by less than 10 % of the inter-ocular distance; close to 0
    where the box holds no face."""
    inter_ocular: float
    """Distance between the outer corners of the eyes, pixels."""
    points: Floats
    """float32 [N, 2]: x, y in pixels."""
    scores: Floats
    """float32 [N] in [0, 1]: the confidence of each point."""
    covariances: Floats
    """float32 [N, 3]: xx, xy, yy of each point, pixels squared."""
    visibility: Floats = field(default_factory=lambda: floats((), -1))
    """float32 [N] in [0, 1]: the probability that each point is seen; no rows where the model does not state it."""
    passes: int = 1
    """How often the face was cropped and answered: 2 where it was refined. Services before that option: 1."""

    @property
    def covariance_matrices(self) -> Floats:
        """float32 [N, 2, 2], pixels squared."""
        return self.covariances[:, [[0, 1], [1, 2]]]

    def __repr__(self) -> str:
        box = ", ".join(f"{value:.1f}" for value in self.box)
        return (
            f"<Face box=[{box}] score={self.score:.2f} inter_ocular={self.inter_ocular:.1f} points={len(self.points)}>"
        )


@dataclass(frozen=True)
class Model:
    """The network that computed an answer."""

    name: str
    version: str
    provenance: str
    """"sha256:..." of the model file."""


@dataclass(frozen=True)
class AnswerWarning:
    """A remark on how the image was decoded. `code` is stable; docs/api.md lists the codes."""

    code: str
    message: str


@dataclass(frozen=True, eq=False)
class Answer:
    """The faces of one image.

    Those with a score of at least 0.5 come first, then the others, the largest of either first. Where boxes were given,
    the faces are in their order.
    """

    request_id: str
    model: Model
    width: int
    """Of the image as displayed, pixels."""
    height: int
    faces: tuple[Face, ...]
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds of each stage; empty where the request omitted them."""
    warnings: tuple[AnswerWarning, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The answer as the JSON of the REST API has it, with float32 arrays and scalars of NumPy."""
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
    """What a served model computes, and what it was trained on."""

    name: str
    """The value for the option `model`."""
    version: str
    provenance: str
    """"sha256:..." of the model file."""
    layout: str
    """Name of the point layout, such as "wflw98": the meaning and order of the points."""
    input_size: int
    """Longer side of the crop that the network takes, pixels."""
    crop_scale: float
    """Longer side of the crop over that of the rectangle of its shape about the face's box."""
    topk: int
    """Heatmap cells averaged for a point, unless a request chooses another number."""
    decoders: tuple[str, ...]
    """The values for the option `decoder`."""
    run_id: str
    """The training run that produced the model."""
    data: tuple[str, ...]
    """Names of the data sets of the training."""
    degrees_of_freedom: Mapping[str, float]
    """Of the Student t distribution of the errors, by group of points: with the covariances it gives confidence
    ellipses.
    """
    input_width: int
    """Width of the crop that the network takes, pixels."""
    input_height: int
    """Its height."""


def floats(values: Any, *shape: int) -> Floats:
    """Numbers of an answer as a float32 array of this shape, -1 for the number of points."""
    return np.array(values, np.float32).reshape(shape)


def single(value: Any) -> float:
    """A float32 of an answer. JSON's shortest digits and protobuf's bits give the same number."""
    return float(np.float32(value))


def _face_dict(face: Face) -> dict[str, Any]:
    body: dict[str, Any] = {
        "box": face.box,
        "box_source": face.box_source,
        "box_score": None if face.box_score is None else np.float32(face.box_score),
        "score": np.float32(face.score),
        "inter_ocular": np.float32(face.inter_ocular),
    }
    arrays = {"points": face.points, "scores": face.scores, "covariances": face.covariances}
    body |= {name: values for name, values in arrays.items() if len(values)} | {"passes": face.passes}
    return body | ({"visibility": face.visibility} if len(face.visibility) else {})
