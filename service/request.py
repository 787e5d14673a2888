"""A request: what a caller may choose, by the same names over REST, gRPC and the command line, and what is refused.

`Options` and the proto are the two definitions of an option. Everything else is derived from them: what a query
(`rest.options`), a form or JSON (`rest.read`) and a message (`rpc.convert`) may hold, OpenAPI (`rest.schema`), and the
flags of `landmarks detect` (`cli.flags`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from landmarks.codec import CodecError
from landmarks.decoders import DECODER_HELP, DECODERS, DEFAULT_DECODER
from landmarks.second_pass import Refine
from landmarks_client.pb.comments import COMMENTS
from service.answer import ServedModel
from service.errors import ErrorKind, ServiceError
from service.limits import MAX_ITEMS
from service.pixel_aspect import MAX_PIXEL_ASPECT, MIN_PIXEL_ASPECT
from service.wire.validation import describe

OmittableField: TypeAlias = Literal["points", "scores", "covariances", "visibility", "timings_ms"]
OMITTABLE: Final = get_args(OmittableField)
"""The large fields of an answer, which a caller may leave out."""

MAX_BOX_TO_IMAGE: Final = 100
MIN_BOX: Final = 1.0
"""Beyond these no face can be seen, and the arithmetic of the crop would lose its precision."""

Box: TypeAlias = Annotated[tuple[float, float, float, float], Strict(False)]
"""x1, y1, x2, y2 in image pixels; a list is accepted as well."""


def _add_comments(schema: dict[str, Any]) -> None:
    """Descriptions are the proto's comments, followed by what a field itself adds."""
    for name, each in schema["properties"].items():
        each["description"] = f"{COMMENTS[f'DetectRequest.{name}']} {each.get('description', '')}".strip()
        each.pop("uniqueItems", None)  # what is given twice counts once


class Options(BaseModel):
    """What a request may choose. Every option may be left out; the proto's comments document each of them.

    Raises pydantic's ValidationError; `read_options` raises ServiceError instead.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", json_schema_extra=_add_comments)

    boxes: tuple[Box, ...] = Field(
        (), strict=False, fail_fast=True, max_length=MAX_ITEMS, examples=[[[2.0, 2.0, 13.0, 13.0]]]
    )
    topk: int | None = Field(None, ge=1, examples=[4])
    max_faces: int | None = Field(None, ge=1, examples=[1])
    detector_threshold: float | None = Field(None, ge=0, le=1, allow_inf_nan=False, examples=[0.9])
    model: str | None = None
    decoder: Annotated[str, Field(json_schema_extra={"enum": [*DECODERS]})] | None = Field(
        None, description=DECODER_HELP, examples=[DEFAULT_DECODER]
    )
    flip: bool | None = Field(None, examples=[True])
    omit: frozenset[OmittableField] = Field(
        frozenset(), strict=False, fail_fast=True, examples=[["covariances", "timings_ms"]]
    )
    min_score: float | None = Field(None, ge=0, le=1, allow_inf_nan=False, examples=[0.5])
    refine: Refine | None = Field(None, examples=["auto"])
    min_face: float | None = Field(None, ge=1, allow_inf_nan=False, examples=[200.0])
    pixel_aspect: float | None = Field(
        None, ge=MIN_PIXEL_ASPECT, le=MAX_PIXEL_ASPECT, allow_inf_nan=False, examples=[2.0]
    )


_NAMES: Final = frozenset(Options.model_fields)


class ImageRequest(NamedTuple):
    """One image file, and the options it came with."""

    image: bytes
    options: Options


def read_options(values: Mapping[str, object]) -> Options:
    """The options of a form, JSON, query or message; a value of None counts as not given.

    Raises ServiceError of kind INVALID_REQUEST, INVALID_BOX or TOO_MANY_BOXES.
    """
    unknown = sorted(values.keys() - _NAMES)
    if unknown:
        known = ", ".join(name for name in Options.model_fields if name != "boxes")
        raise invalid(f"unknown option {unknown[0][:40]!r}: the options are box (boxes in JSON), {known}")
    try:
        return Options.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        raise refusal(error) from error


def refusal(error: ValidationError) -> ServiceError:
    """The first thing that is wrong with the values of options, in words that name the option."""
    problem = error.errors(include_url=False)[0]
    option, *inside = problem["loc"]
    if option == "boxes" and inside:
        return ServiceError(ErrorKind.INVALID_BOX, f"box {inside[0]} is not four numbers x1, y1, x2, y2")
    if option == "boxes" and problem["type"] == "too_long":
        return ServiceError(ErrorKind.TOO_MANY_BOXES, "more boxes given than are ever answered: send them in parts")
    return invalid(f"{option} {describe(problem)}")


def invalid(message: str) -> ServiceError:
    return ServiceError(ErrorKind.INVALID_REQUEST, message)


def check_options(options: Options, model: ServedModel, max_boxes: int) -> None:
    """Raises ServiceError for options that `model`, which has the name that the request names, can never satisfy."""
    if len(options.boxes) > max_boxes:
        raise ServiceError(
            ErrorKind.TOO_MANY_BOXES,
            f"{len(options.boxes)} boxes given, at most {max_boxes} are answered: send them in parts",
        )
    try:
        model.metadata.codec.choose_decoder(options.decoder, options.topk)
    except CodecError as error:
        raise invalid(str(error)) from error
    if options.refine == "always" and model.metadata.points_crop is None:
        raise invalid(f"model {model.name!r} does not refine: leave refine out, or export the model again")


def checked_box(number: int, box: Box, width: int, height: int) -> NDArray[np.float32]:
    """The box as float32 [4]. Raises ServiceError of kind INVALID_BOX, naming it, when no crop can be made of it."""
    values = np.array(box, np.float64)
    if not np.isfinite(values).all():
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
