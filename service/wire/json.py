"""The answer's dataclasses -> bodies that REST and the command line write, and that `rpc.convert` makes messages from.

An answer has the fields of the proto's message of the same name. Arrays stay arrays: there is no object per point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from landmarks.decoders import DECODERS
from landmarks.layout import PointLayout
from landmarks.tensors import VISIBILITY
from landmarks_client.pb import landmarks_pb2 as pb
from service.answer import Answer, ServedModel
from service.errors import ServiceError
from service.request_ids import image_ids
from service.wire.problem import problem


def to_json(body: Mapping[str, Any]) -> bytes:
    """float32 numbers are written with the fewest digits that read back as the same float32."""
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


class _Field(NamedTuple):
    """One field of a proto message."""

    name: str
    fields: tuple[_Field, ...]
    """Those of the message that the field holds; none where it holds numbers or text."""


def _fields(message: Any) -> tuple[_Field, ...]:
    """The fields of a Descriptor, but for the request's id, which an answer of the pipeline does not have."""
    return tuple(
        _Field(field.name, _fields(field.message_type) if field.message_type else ())
        for field in message.fields
        if field.name != "request_id"
    )


_ANSWER: Final = _fields(pb.DetectResponse.DESCRIPTOR)


def answer_body(answer: Answer, request_id: str) -> dict[str, Any]:
    """The fields of `DetectResponse` without those that the request omits or the model does not state."""
    omit = answer.omit if answer.model.metadata.has_visibility else answer.omit | {VISIBILITY}
    return {"request_id": request_id, **_body(answer, _ANSWER, omit)}


def _body(value: object, fields: tuple[_Field, ...], omit: frozenset[str]) -> dict[str, Any]:
    """The value of each field is the attribute of the same name."""
    body = {}
    for name, inner in fields:
        if name not in omit:
            part = getattr(value, name)
            if inner and type(part) is tuple:
                part = [_body(each, inner, omit) for each in part]
            elif inner and type(part) is not dict:
                part = _body(part, inner, omit)
            body[name] = part
    return body


def batch_body(outcomes: Sequence[Answer | ServiceError], request_id: str) -> dict[str, Any]:
    """The fields of `DetectBatchResponse`."""
    parts = zip(outcomes, image_ids(request_id, len(outcomes)), strict=True)
    return {"request_id": request_id, "results": [_result(outcome, identity) for outcome, identity in parts]}


def _result(outcome: Answer | ServiceError, request_id: str) -> dict[str, Any]:
    if isinstance(outcome, ServiceError):
        return {"problem": problem(outcome.kind, outcome.message, request_id)}
    return {"answer": answer_body(outcome, request_id)}


def models_body(models: Sequence[ServedModel]) -> dict[str, Any]:
    """The fields of `ListModelsResponse`."""
    return {"models": [_model(model) for model in models]}


def _model(model: ServedModel) -> dict[str, Any]:
    metadata = model.metadata
    return {
        "name": model.name,
        "version": model.version,
        "provenance": model.provenance,
        "layout": metadata.layout.name,
        "input_size": max(metadata.codec.input_size),
        "input_width": metadata.codec.input_size.width,
        "input_height": metadata.codec.input_size.height,
        "crop_scale": metadata.crop_scale,
        "topk": metadata.codec.topk,
        "decoders": list(DECODERS),
        "degrees_of_freedom": dict(metadata.degrees_of_freedom),
        "run_id": metadata.run_id,
        "data": metadata.data,
    }


def layout_body(layout: PointLayout) -> dict[str, Any]:
    """A layout: the points' names, their groups, the lines to draw, and the pairs that a mirror exchanges."""
    return {
        "name": layout.name,
        "points": layout.point_names,
        "groups": dict(layout.groups),
        "outlines": {group: layout.outlines.get(group, ()) for group in layout.groups},
        "flip": layout.flip,
        "inter_ocular": layout.outer_eye_corners,
    }
