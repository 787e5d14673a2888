"""Messages -> requests, and answers -> messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from landmarks_client.pb import landmarks_pb2 as pb
from service.answer import Answer, ServedModel
from service.errors import ErrorKind, ServiceError
from service.limits import MAX_ITEMS
from service.request import ImageRequest, Options, read_options
from service.wire.json import answer_body, batch_body, models_body
from service.wire.problem import problem

_FIELDS: Final = pb.DetectRequest.DESCRIPTOR.fields
_SCALARS: Final = tuple(field.name for field in _FIELDS if field.has_presence)
_LISTS: Final = tuple(field.name for field in _FIELDS if field.is_repeated and field.message_type is None)


def options_of(request: pb.DetectRequest) -> Options:
    """Raises ServiceError as `read_options` does, and for a field that is not in this server's schema."""
    if len(request.boxes) > MAX_ITEMS:  # before they are converted one by one
        raise ServiceError(ErrorKind.TOO_MANY_BOXES, f"{len(request.boxes)} boxes given: send them in parts")
    refuse_unknown(request, *request.boxes)
    values: dict[str, Any] = {name: getattr(request, name) for name in _SCALARS if request.HasField(name)}
    values |= {name: list(getattr(request, name)) for name in _LISTS}
    values["boxes"] = [(box.x1, box.y1, box.x2, box.y2) for box in request.boxes]
    return read_options(values)


def read_batch(request: pb.DetectBatchRequest) -> list[ImageRequest | ServiceError]:
    """Each image with its options, or what is wrong with them. Raises ServiceError, also of kind TOO_MANY_IMAGES."""
    if len(request.requests) > MAX_ITEMS:
        raise ServiceError(
            ErrorKind.TOO_MANY_IMAGES, f"the batch has {len(request.requests)} images: send them in parts"
        )
    refuse_unknown(request)
    return [_image_request(each) for each in request.requests]


def _image_request(request: pb.DetectRequest) -> ImageRequest | ServiceError:
    try:
        return ImageRequest(request.image, options_of(request))
    except ServiceError as error:
        return error


def refuse_unknown(*messages: Message) -> None:
    """Raises ServiceError for a field that is not in this server's schema."""
    if any(len(UnknownFieldSet(message)) for message in messages):
        raise ServiceError(
            ErrorKind.INVALID_REQUEST, "unknown option: the request has a field that is not in this server's schema"
        )


def answer_message(answer: Answer, request_id: str) -> pb.DetectResponse:
    return pb.DetectResponse(**_flat(answer_body(answer, request_id)))


def batch_message(outcomes: Sequence[Answer | ServiceError], request_id: str) -> pb.DetectBatchResponse:
    return pb.DetectBatchResponse(**_flat(batch_body(outcomes, request_id)))


def problem_message(error: ServiceError, request_id: str) -> pb.Problem:
    return pb.Problem(**problem(error.kind, error.message, request_id))


def models_message(models: Sequence[ServedModel]) -> pb.ListModelsResponse:
    return pb.ListModelsResponse(**_flat(models_body(models)))


def _flat(value: Any) -> Any:
    """A body of `service.wire.json` as protobuf takes it: arrays as flat lists."""
    kind = type(value)
    if kind is np.ndarray:
        return value.ravel().tolist()  # several times faster than iterating over the array
    if kind is dict:
        return {name: _flat(each) for name, each in value.items()}
    return [_flat(each) for each in value] if kind is list else value
