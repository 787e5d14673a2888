"""The schema of REST, the options that both APIs read, and the proto are one wire: compared field by field."""

from __future__ import annotations

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from google.protobuf.descriptor import FieldDescriptor
from pydantic import BaseModel

from landmarks.decoders import DECODERS
from landmarks_client.pb import landmarks_pb2 as pb
from service.request import OMITTABLE, Options
from service.rest import schema

PAIRS: dict[type[BaseModel], Any] = {
    schema.JsonRequest: pb.DetectRequest,
    schema.AnswerModel: pb.DetectResponse,
    schema.FaceModel: pb.Face,
    schema.ModelInfo: pb.Model,
    schema.ImageInfo: pb.Image,
    schema.Timings: pb.Timings,
    schema.WarningModel: pb.Warning,
    schema.BatchModel: pb.DetectBatchResponse,
    schema.ResultModel: pb.DetectResult,
    schema.ProblemModel: pb.Problem,
    schema.ModelsModel: pb.ListModelsResponse,
    schema.ModelDescription: pb.ModelDescription,
}

FIELDS = {
    "DetectRequest": "image boxes topk max_faces detector_threshold model decoder flip omit min_score refine "
    "pixel_aspect min_face",
    "Box": "x1 y1 x2 y2",
    "DetectResponse": "request_id model image faces timings_ms warnings",
    "Model": "name version provenance",
    "Image": "width height",
    "Face": "box box_source box_score score inter_ocular points scores covariances passes visibility",
    "Timings": "decode detect crop infer total",
    "Warning": "code message",
    "DetectBatchRequest": "requests",
    "DetectBatchResponse": "request_id results",
    "DetectResult": "answer problem",
    "Problem": "type title status detail code action request_id",
    "TrackRequest": "options frame",
    "TrackOptions": "detect rate resume",
    "TrackFrame": "number image raw",
    "RawImage": "width height channels type stride colour_space samples planar",
    "TrackResponse": "frame missing cut answer problem faces state",
    "TrackedFace": "id gap smoothed",
    "TrackState": "frame next_id glance faces",
    "KnownFace": "id frame box points smoothed velocities",
    "ListModelsRequest": "",
    "ListModelsResponse": "models",
    "ModelDescription": "name version provenance layout input_size crop_scale topk decoders run_id data "
    "degrees_of_freedom input_width input_height",
}
"""Names by number, from 1 on: what clients were built with stays as it is, and new fields come at the end."""

F = FieldDescriptor
PROTO_KINDS = {
    F.TYPE_STRING: "text",
    F.TYPE_BYTES: "text",  # base64 in JSON
    F.TYPE_UINT32: "whole",
    F.TYPE_FLOAT: "number",
    F.TYPE_DOUBLE: "number",
    F.TYPE_BOOL: "flag",
}
REST_KINDS = {str: "text", int: "whole", float: "number", bool: "flag"}


def test_every_message_and_every_field_has_its_number() -> None:
    messages = pb.DESCRIPTOR.message_types_by_name
    numbered = {name: [f.name for f in sorted(m.fields, key=lambda f: f.number)] for name, m in messages.items()}
    assert numbered == {name: fields.split() for name, fields in FIELDS.items()}
    assert all(f.number <= len(m.fields) for m in messages.values() for f in m.fields)


@pytest.mark.parametrize("model", PAIRS, ids=lambda model: model.__name__)
def test_rest_and_proto_have_the_same_fields(model: type[BaseModel]) -> None:
    hints = get_type_hints(model, include_extras=True)
    rest = {name: rest_kind(hints[name]) for name in model.model_fields}
    assert rest == {field.name: proto_kind(field) for field in PAIRS[model].DESCRIPTOR.fields}


def test_every_message_has_its_counterpart() -> None:
    # boxes are plain lists in JSON; a batch is a form there, a list of models needs no request, and nothing streams
    alone = {"Box", "DetectBatchRequest", "ListModelsRequest", "RawImage", "KnownFace"}
    alone |= {name for name in FIELDS if name.startswith("Track")}
    assert {message.DESCRIPTOR.name for message in PAIRS.values()} | alone == set(FIELDS)


def test_the_words_that_options_take_are_those_of_the_schema() -> None:
    properties = Options.model_json_schema()["properties"]
    assert properties["decoder"]["anyOf"][0]["enum"] == list(DECODERS)
    assert properties["omit"]["items"]["enum"] == list(OMITTABLE)


Kind = tuple[str, bool, bool]
"""What a value is, whether there are several, and whether it may be unset."""


def rest_kind(hint: Any) -> Kind:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return rest_kind(arguments[0])
    if origin is Literal:
        return "text", False, False
    if origin in (Union, types.UnionType):
        (inner,) = (each for each in arguments if each is not type(None))
        return (*rest_kind(inner)[:2], True)
    if origin is dict:
        return f"{rest_kind(arguments[1])[0]} by name", True, False
    if origin in (list, tuple, frozenset):  # [[x, y], ...] is flat in the proto
        return rest_kind(arguments[0])[0], True, False
    if hint in PAIRS:
        return PAIRS[hint].DESCRIPTOR.name, False, False
    return REST_KINDS[hint], False, False


def proto_kind(field: FieldDescriptor) -> Kind:
    repeated = field.is_repeated
    if field.message_type is None:
        return PROTO_KINDS[field.type], repeated, field.has_presence
    if field.message_type.GetOptions().map_entry:
        return f"{proto_kind(field.message_type.fields_by_name['value'])[0]} by name", True, False
    name = field.message_type.name
    # a message may always be unset; what that means is for REST to say only where one of several is chosen
    return ("number" if name == "Box" else name), repeated, field.containing_oneof is not None
