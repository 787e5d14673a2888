"""What OpenAPI says of the wire. It is derived from `Options`, and from the proto for the answers.

For documentation alone: answers are never built from these models, and tests check that real answers satisfy them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import GenericAlias
from typing import Annotated, Any, Final, Literal

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from pydantic import BaseModel, ConfigDict, Field, create_model

from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.pb.comments import COMMENTS
from service.errors import RETRY_AFTER_SECONDS, ErrorKind
from service.limits import IMAGE_FORMATS
from service.request import OMITTABLE, Options
from service.rest.negotiation import MSGPACK
from service.wire.problem import PROBLEM_JSON, STATUS, problem
from service.wire.text import TEXT_OPTIONS, field_schemas

Pair = Annotated[list[float], Field(min_length=2, max_length=2)]
Triple = Annotated[list[float], Field(min_length=3, max_length=3)]
BoxXyxy = Annotated[list[float], Field(min_length=4, max_length=4, examples=[[270.5, 166.0, 506.5, 531.5]])]

EXAMPLE_IMAGE: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAEUlEQVR42mNsYEAFTAwjWgAAmZAAoFDIQrAAAAAASUVORK5CYII="
)
"""A grey PNG of 16 x 16 pixels, so that the examples of the description, and of `Options`, can be sent as they are."""

_STRICT: Final = ConfigDict(extra="forbid")


class JsonRequest(Options):
    image: str = Field(json_schema_extra={"format": "byte"}, examples=[EXAMPLE_IMAGE])


class FormRequest(BaseModel):
    model_config = _STRICT

    image: str = Field(description=COMMENTS["DetectRequest.image"], json_schema_extra={"format": "binary"})
    options: Options | None = None


class BatchRequest(BaseModel):
    model_config = _STRICT

    image: list[Annotated[str, Field(json_schema_extra={"format": "binary"})]] = Field(
        min_length=1, description="The image files, each as a part of its own of this name."
    )
    options: Options | list[Options] | None = Field(
        None, description="Options for all images, or a list with those of each."
    )


_SCALARS: Final[Mapping[int, Any]] = {
    FieldDescriptor.TYPE_STRING: str,
    FieldDescriptor.TYPE_UINT32: int,
    FieldDescriptor.TYPE_BOOL: bool,
    FieldDescriptor.TYPE_FLOAT: float,
    FieldDescriptor.TYPE_DOUBLE: float,
}
_JSON_TYPES: Final[Mapping[str, Any]] = {
    # what is flat in the proto and nested in JSON, and texts of which there is a closed set
    "Face.box": BoxXyxy,
    "Face.box_source": Literal["given", "detected"],
    "Face.points": list[Pair],
    "Face.covariances": list[Triple],
    "Problem.code": Annotated[str, Field(json_schema_extra={"enum": [kind.value for kind in ErrorKind]})],
}
_EXAMPLES: Final[Mapping[str, Any]] = {
    "Model.name": "compact_deep",
    "Model.version": "1",
    "Model.provenance": "sha256:9f86d0...",
    "ModelDescription.name": "compact_deep",
    "ModelDescription.degrees_of_freedom": {"jaw": 4.6, "nose": 18.4},
    "Problem.type": "urn:problem-type:landmarks:invalid_box",
    "Warning.code": "first_frame_only",
}
_MODELS: Final[dict[str, type[BaseModel]]] = {}


def _model(message: type[Message], name: str) -> type[BaseModel]:
    """The JSON of a message of the proto, under `name` in OpenAPI. Messages inside it come before it."""
    fields: dict[str, Any] = {field.name: _field(field) for field in message.DESCRIPTOR.fields}
    message_name = message.DESCRIPTOR.name
    model = create_model(name, __config__=_STRICT, __doc__=COMMENTS.get(message_name), **fields)
    _MODELS[message_name] = model
    return model


def _field(field: Any) -> tuple[Any, Any]:
    """FieldDescriptor -> type and pydantic field. Required are all but those of a oneof and those of OMITTABLE."""
    name = f"{field.containing_type.name}.{field.name}"
    kind = _JSON_TYPES.get(name) or _kind(field)
    documented: dict[str, Any] = {"description": COMMENTS[name]}
    if name in _EXAMPLES:
        documented["examples"] = [_EXAMPLES[name]]
    if field.name in OMITTABLE:  # not there at all where the request omits it, rather than null
        return kind, Field(default_factory=lambda: None, **documented)
    is_optional = field.containing_oneof is not None  # protobuf counts `optional` as a oneof of one field
    if is_optional and len(field.containing_oneof.fields) > 1:
        return kind | None, Field(None, **documented)
    return kind | None if is_optional else kind, Field(**documented)


def _kind(field: Any) -> Any:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return GenericAlias(dict, (str, _kind(message.fields_by_name["value"])))
    kind = _SCALARS[field.type] if message is None else _MODELS[message.name]
    return GenericAlias(list, (kind,)) if field.is_repeated else kind


ModelInfo = _model(pb.Model, "ModelInfo")
ImageInfo = _model(pb.Image, "ImageInfo")
FaceModel = _model(pb.Face, "FaceModel")
Timings = _model(pb.Timings, "Timings")
WarningModel = _model(pb.Warning, "WarningModel")
AnswerModel = _model(pb.DetectResponse, "AnswerModel")
ProblemModel = _model(pb.Problem, "ProblemModel")
ResultModel = _model(pb.DetectResult, "ResultModel")
BatchModel = _model(pb.DetectBatchResponse, "BatchModel")
ModelDescription = _model(pb.ModelDescription, "ModelDescription")
ModelsModel = _model(pb.ListModelsResponse, "ModelsModel")


class LayoutModel(BaseModel):
    model_config = _STRICT

    name: str = Field(examples=["wflw98"])
    points: list[str] = Field(description="The points' names, in the order of answers.")
    groups: dict[str, list[int]]
    outlines: dict[str, list[list[int]]] = Field(description="Polylines to draw, as indices of points.")
    flip: list[int] = Field(description="flip[i] is the point that point i becomes in the mirrored image.")
    inter_ocular: list[int] | None = Field(
        description="The two points whose distance is inter_ocular; null in a layout without the eyes' outer corners, "
        "where inter_ocular is the square root of the area of the points' bounding box."
    )


def error_responses(*kinds: ErrorKind) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for these kinds, by status, with an example of each."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        entry = responses.setdefault(
            STATUS[kind],
            {"description": "", "content": {PROBLEM_JSON: {"schema": _inline(ProblemModel), "examples": {}}}},
        )
        entry["description"] = ", ".join(filter(None, [entry["description"], kind.value]))
        if kind in RETRY_AFTER_SECONDS:
            entry["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}
        example = problem(kind, "What is wrong with this very request.", "4f1c")
        entry["content"][PROBLEM_JSON]["examples"][kind.value] = {"value": example}
    return responses


_HEADERS: Final = [
    ("X-Request-ID", {"type": "string"}, "Your id of this request; the answer repeats it."),
    ("X-Request-Timeout", {"type": "number"}, "Seconds after which you no longer want the answer."),
]


def landmarks_operation() -> Mapping[str, Any]:
    """OpenAPI's description of the request of POST /v1/landmarks: its three forms of body, and its parameters."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    media = [*(f"image/{name.lower()}" for name in IMAGE_FORMATS), "application/octet-stream"]
    return {
        "parameters": [*_query(), *_headers()],
        "requestBody": {
            "required": True,
            "description": "The query's options are for a raw image; a form or JSON carries its own.",
            "content": {
                **dict.fromkeys(media, binary),
                "multipart/form-data": {"schema": _inline(FormRequest)},
                "application/json": {"schema": _inline(JsonRequest)},
            },
        },
    }


def batch_operation() -> Mapping[str, Any]:
    """OpenAPI's description of the request of POST /v1/landmarks/batch."""
    return {
        "parameters": _headers(),
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _inline(BatchRequest)}}},
    }


def answer_response(model: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI's response for an answer that is written as JSON or, where Accept prefers it, as msgpack."""
    return {"model": model, "content": {name: {} for name in MSGPACK[:1]}}


def _headers() -> list[dict[str, Any]]:
    return [_parameter("header", *each) for each in _HEADERS]


def _query() -> list[dict[str, Any]]:
    """Every option as a query parameter."""
    properties = field_schemas(Options)
    parameters = []
    for name, option in TEXT_OPTIONS.items():
        schema = dict(properties[option.field])
        text = f"{schema.pop('description')} {option.hint}".strip()
        if option.repeated:
            examples = [[",".join(f"{value:g}" for value in each) for each in sample] for sample in schema["examples"]]
            schema = {"type": "array", "items": {"type": "string"}, "examples": examples}
        parameters.append(_parameter("query", name, schema, text) | {"explode": option.repeated})
    return parameters


def _parameter(location: str, name: str, schema: Mapping[str, Any], text: str) -> dict[str, Any]:
    return {"in": location, "name": name, "required": False, "schema": schema, "description": text}


def _inline(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON schema without references: OpenAPI resolves them against the document that holds the schema."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return resolve(definitions[node["$ref"].rpartition("/")[2]])
            return {key: resolve(value) for key, value in node.items()}
        return [resolve(item) for item in node] if isinstance(node, list) else node

    return dict(resolve(schema))
