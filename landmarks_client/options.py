"""The options of a request. proto/generate.sh writes this file from the schema and its comments; do not edit it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict


class Options(TypedDict, total=False):
    """What a request may choose. Every option may be left out."""

    boxes: Sequence[Sequence[float]]
    """The faces' boxes, each x1, y1, x2, y2 in pixels. Without boxes the service detects the faces."""

    topk: int
    """Number of heatmap cells that the decoder "topk" averages for a point. Unset: the number that the model was
    validated with.
    """

    max_faces: int
    """Answer at most this many of the detected faces, the first in the order of an answer's faces."""

    detector_threshold: float
    """Least score, 0 to 1, of a detected face. It can only raise the detector's own threshold."""

    model: str
    """Name of the model that must answer, one of those listed as served. Unset: the service chooses."""

    decoder: str
    """How a point is read from its heatmap: one of the decoders that the model lists. Unset: "topk"."""

    flip: bool
    """Average with the answer for the mirrored crop, at twice the cost. The shipped model gains nothing by it (see the
    model card).
    """

    omit: Sequence[str]
    """Fields to leave out of the answer: "points", "scores", "covariances", "visibility", "timings_ms"."""

    min_score: float
    """Least score, 0 to 1, of a detected face that is answered; 0 answers all of them. Faces in given boxes are always
    answered. Unset: the setting of the service.
    """

    refine: str
    """Which faces are cropped again by the points of a first answer, upright, and answered again: "never" any, "auto"
    those whose first crop was off, "always" all. Unset: "auto".
    """

    pixel_aspect: float
    """Width of a pixel over its height, 0.25 to 4, as anamorphic plates state it: 2 for a picture squeezed to half its
    width. Boxes and answers are in pixels of the picture as it is. Unset: 1.
    """

    min_face: float
    """Root of the area, in pixels of the image, of the smallest box that faces are searched for; smaller ones are not
    answered. The larger it is, the less time the search takes. Unset: small faces are searched for only where the
    image, reduced to a quarter or a half, shows a small face or none that is certain.
    """
