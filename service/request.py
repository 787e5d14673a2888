"""What a caller may choose, by the same names through every door, and what of it is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import CodecError
from service.answer import ServedModel
from service.errors import ErrorKind, ServiceError

OMITTABLE: Final = ("points", "scores", "covariances", "timings_ms")
"""The large fields of an answer, which a caller may leave out."""

MOST: Final = 4096
"""Boxes of an image, or images of a batch, that the settings may allow at most."""

MAX_BOX_TO_IMAGE: Final = 100
MIN_BOX: Final = 1.0
"""Beyond these no face can be seen, and the arithmetic of the crop would lose its precision."""


@dataclass(frozen=True)
class Options:
    boxes: tuple[tuple[float, ...], ...] = ()
    """xyxy in image pixels, rounded to float32 as the wire has them. None given: the detector looks for faces."""
    topk: int | None = None
    """Heatmap cells that decoder "topk" averages for a point; None: as the model was validated."""
    max_faces: int | None = None
    """Of the faces detected, the largest so many; None: as many as the service answers at most."""
    detector_threshold: float | None = None
    """Least score in [0, 1] of a detected face. The detector has one of its own, which this can only raise."""
    model: str | None = None
    """Name of the model that must answer; None: whichever `service.rollout.canary` takes."""
    decoder: str | None = None
    """A name of `landmarks.decoders.DECODERS`; None: "topk"."""
    flip: bool = False
    """Average with the answer for the mirrored crop: better by a little, at twice the cost."""
    omit: frozenset[str] = frozenset()
    """Fields of OMITTABLE that the answer does without."""


class ImageRequest(NamedTuple):
    """One image file, and what is asked of it."""

    image: bytes
    options: Options


def check_options(options: Options, model: ServedModel, max_boxes: int) -> None:
    """Raises ServiceError for options that no image could satisfy. That `model` bears the name asked for is known."""
    if len(options.boxes) > max_boxes:
        raise ServiceError(
            ErrorKind.TOO_MANY_BOXES,
            f"{len(options.boxes)} boxes given, at most {max_boxes} are answered: send them in parts",
        )
    problem = _problem(options, model)
    if problem is not None:
        raise ServiceError(ErrorKind.INVALID_REQUEST, problem)


def _problem(options: Options, model: ServedModel) -> str | None:
    unknown = sorted(options.omit.difference(OMITTABLE))
    if options.max_faces is not None and options.max_faces < 1:
        return "max_faces must be at least 1"
    if options.detector_threshold is not None and not 0 <= options.detector_threshold <= 1:
        return "detector_threshold must lie between 0 and 1"
    if unknown:
        return f"omit takes {', '.join(OMITTABLE)}, not {_quoted(unknown[0])}"
    try:
        model.metadata.codec.choose_decoder(options.decoder, options.topk)
    except CodecError as error:
        return str(error)
    return None


def _quoted(text: str) -> str:
    return repr(text[:40])


def checked_box(number: int, box: tuple[float, ...], width: int, height: int) -> NDArray[np.float32]:
    """The box as float32 [4]. Raises ServiceError of kind INVALID_BOX, naming it, when no crop can be made of it."""
    values = np.array(box, np.float64)
    if values.shape != (4,) or not np.isfinite(values).all():
        problem = "is not four finite numbers x1, y1, x2, y2"
    elif not (values[0] < values[2] and values[1] < values[3]):
        problem = "is inverted or empty: x1 < x2 and y1 < y2 are needed"
    elif not overlaps(values, width, height):
        problem = f"lies outside the image of {width} x {height} pixels"
    elif max(values[2] - values[0], values[3] - values[1]) > MAX_BOX_TO_IMAGE * max(width, height):
        problem = f"is more than {MAX_BOX_TO_IMAGE} times as long as the image of {width} x {height} pixels"
    elif max(values[2] - values[0], values[3] - values[1]) < MIN_BOX:
        problem = f"is less than {MIN_BOX} pixel long"
    else:
        return values.astype(np.float32)
    raise ServiceError(ErrorKind.INVALID_BOX, f"box {number} ({', '.join(f'{v:g}' for v in box)}) {problem}")


def overlaps(box: NDArray[np.float64], width: int, height: int) -> bool:
    """Whether a box shares area with an image of this size."""
    x1, y1, x2, y2 = (float(v) for v in box)
    return x1 < width - 0.5 and y1 < height - 0.5 and x2 > -0.5 and y2 > -0.5 and math.isfinite(x1 + y1 + x2 + y2)
