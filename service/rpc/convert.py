"""Between the wire's messages and the pipeline's dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from landmarks.decoders import DECODERS
from landmarks_client.pb import landmarks_pb2 as pb
from service.answer import Answer, Face, ServedModel
from service.errors import ErrorKind, ServiceError
from service.limits import MAX_ITEMS
from service.request import ImageRequest, Options, read_options
from service.request_ids import image_ids
from service.wire.problem import problem

_FIELDS: Final = pb.DetectRequest.DESCRIPTOR.fields
_SCALARS: Final = tuple(field.name for field in _FIELDS if field.has_presence)
_LISTS: Final = tuple(field.name for field in _FIELDS if field.is_repeated and field.message_type is None)


def options_of(request: pb.DetectRequest) -> Options:
    """Raises ServiceError as `read_options` does, and for a field that is not in this server's schema."""
    if len(request.boxes) > MAX_ITEMS:  # before they are converted one by one
        raise ServiceError(ErrorKind.TOO_MANY_BOXES, f"{len(request.boxes)} boxes given: send them in parts")
    _refuse_unknown(request, *request.boxes)
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
    _refuse_unknown(request)
    return [_asked(each) for each in request.requests]


def _asked(request: pb.DetectRequest) -> ImageRequest | ServiceError:
    try:
        return ImageRequest(request.image, options_of(request))
    except ServiceError as error:
        return error


def _refuse_unknown(*messages: Message) -> None:
    if any(len(UnknownFieldSet(message)) for message in messages):
        raise ServiceError(
            ErrorKind.INVALID_REQUEST, "unknown option: the request has a field that is not in this server's schema"
        )


def answer_message(answer: Answer, request_id: str) -> pb.DetectResponse:
    return pb.DetectResponse(
        request_id=request_id,
        model=pb.Model(
            name=answer.model.name, version=answer.model.version, provenance=answer.model.provenance
        ),
        image=pb.Image(width=answer.width, height=answer.height),
        faces=[_face(face, answer.omit) for face in answer.faces],
        timings_ms=None if "timings_ms" in answer.omit else pb.Timings(**answer.timings_ms),
        warnings=[pb.Warning(code=warning.code, message=warning.message) for warning in answer.warnings],
    )  # fmt: skip


def batch_message(outcomes: Sequence[Answer | ServiceError], request_id: str) -> pb.DetectBatchResponse:
    parts = zip(outcomes, image_ids(request_id, len(outcomes)), strict=True)
    return pb.DetectBatchResponse(request_id=request_id, results=[_result(*part) for part in parts])


def _result(outcome: Answer | ServiceError, request_id: str) -> pb.DetectResult:
    if isinstance(outcome, ServiceError):
        return pb.DetectResult(problem=pb.Problem(**problem(outcome.kind, outcome.message, request_id)))
    return pb.DetectResult(answer=answer_message(outcome, request_id))


def _face(face: Face, omit: frozenset[str]) -> pb.Face:
    return pb.Face(
        box=face.region.box.tolist(),
        box_source=face.region.source,
        box_score=None if face.region.score is None else float(face.region.score),
        score=float(face.score),
        inter_ocular=float(face.inter_ocular),
        # tolist is several times faster than iterating over the array
        points=() if "points" in omit else face.points.ravel().tolist(),
        scores=() if "scores" in omit else face.scores.tolist(),
        covariances=() if "covariances" in omit else face.covariances.ravel().tolist(),
    )


def models_message(models: Sequence[ServedModel]) -> pb.ListModelsResponse:
    return pb.ListModelsResponse(models=[_model(model) for model in models])


def _model(model: ServedModel) -> pb.ModelDescription:
    metadata = model.metadata
    return pb.ModelDescription(
        name=model.name,
        version=model.version,
        provenance=model.provenance,
        layout=metadata.layout.name,
        input_size=metadata.codec.input_size,
        crop_scale=metadata.crop_scale,
        topk=metadata.codec.topk,
        decoders=list(DECODERS),
        degrees_of_freedom=metadata.degrees_of_freedom,
        run_id=metadata.run_id,
        data=metadata.data,
    )
