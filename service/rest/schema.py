"""What OpenAPI says of the wire. For documentation alone: answers are never built from these models, and a test checks
that real answers satisfy them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from landmarks.decoders import DECODER_HELP, DECODERS, DEFAULT_DECODER
from service.errors import RETRY_AFTER_SECONDS, ErrorKind
from service.rest.negotiation import MSGPACK
from service.wire.problem import PROBLEM_JSON, STATUS, problem

Pair = Annotated[list[float], Field(min_length=2, max_length=2)]
Triple = Annotated[list[float], Field(min_length=3, max_length=3)]
BoxXyxy = Annotated[list[float], Field(min_length=4, max_length=4, examples=[[270.5, 166.0, 506.5, 531.5]])]

EXAMPLE_BOX: Final = [2.0, 2.0, 13.0, 13.0]
EXAMPLE_IMAGE: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAEUlEQVR42mNsYEAFTAwjWgAAmZAAoFDIQrAAAAAASUVORK5CYII="
)
"""A grey PNG of 16 x 16 pixels, so that the examples of the description can be sent as they are."""


class _Documented(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OptionsModel(_Documented):
    boxes: list[BoxXyxy] = Field(
        [], description="Where the faces are, x1 y1 x2 y2 in pixels. None: they are detected.", examples=[[EXAMPLE_BOX]]
    )
    topk: int | None = Field(
        None,
        ge=1,
        description="Heatmap cells that decoder topk averages for a point; unset: as validated.",
        examples=[4],
    )
    max_faces: int | None = Field(None, ge=1, description="Of the faces detected, the largest so many.", examples=[1])
    detector_threshold: float | None = Field(
        None, ge=0, le=1, description="Least score of a detected face; can only raise the detector's.", examples=[0.9]
    )
    model: str | None = Field(None, description="Name of the model that must answer, one of GET /v1/models.")
    decoder: Annotated[str, Field(json_schema_extra={"enum": [*DECODERS]})] | None = Field(
        None, description=f"How a point is read from its heatmap. {DECODER_HELP}", examples=[DEFAULT_DECODER]
    )
    flip: bool | None = Field(None, description="Average with the mirrored crop, at twice the cost.", examples=[True])
    omit: list[Literal["points", "scores", "covariances", "timings_ms"]] = Field(
        [], description="Fields that the answer does without.", examples=[["covariances", "timings_ms"]]
    )


class JsonRequest(OptionsModel):
    image: str = Field(
        description="The image file in base64.", json_schema_extra={"format": "byte"}, examples=[EXAMPLE_IMAGE]
    )


class FormRequest(_Documented):
    image: str = Field(description="The image file.", json_schema_extra={"format": "binary"})
    options: OptionsModel | None = None


class ModelInfo(_Documented):
    name: str = Field(examples=["compact_deep"])
    version: str = Field(examples=["1"])
    provenance: str = Field(description="sha256 of the model file.", examples=["sha256:9f86d0..."])


class ImageInfo(_Documented):
    width: int = Field(description="Pixels, of the image as shown.")
    height: int


def _omittable(description: str, **limits: Any) -> Any:
    """A field that is not there at all where the request omits it."""
    return Field(default_factory=lambda: None, description=description, **limits)


class FaceModel(_Documented):
    box: BoxXyxy
    box_source: Literal["given", "detected"]
    box_score: float | None = Field(description="The detector's confidence in [0, 1]; null for a given box.")
    score: float = Field(
        description="About how likely, in [0, 1], the points err by less than 10 % of the inter-ocular distance."
    )
    inter_ocular: float = Field(description="Distance between the outer corners of the eyes, pixels.")
    points: list[Pair] = _omittable("[x, y] in pixels; (0, 0) is the centre of the top-left pixel.")
    scores: list[float] = _omittable("Confidence of each point in [0, 1].")
    covariances: list[Triple] = _omittable("[xx, xy, yy] in pixels squared.")


class Timings(_Documented):
    decode: float
    detect: float
    crop: float
    infer: float
    total: float


class WarningModel(_Documented):
    code: str = Field(description="Stable.", examples=["first_frame_only"])
    message: str


class AnswerModel(_Documented):
    """Numbers of a face are 32-bit floats, equal to the last bit through REST and gRPC."""

    request_id: str
    model: ModelInfo
    image: ImageInfo
    faces: list[FaceModel] = Field(description="The largest first, or in the order of the given boxes; may be empty.")
    timings_ms: Timings = _omittable("Milliseconds in each stage.")
    warnings: list[WarningModel] = Field(
        description="What the caller should know of how the image was read. Empty as a rule."
    )


class ProblemModel(_Documented):
    """A problem document of RFC 9457."""

    type: str = Field(description="A URI for the kind of problem.", examples=["urn:problem-type:landmarks:invalid_box"])
    title: str = Field(description="The kind of problem in words, always the same for a code.")
    status: int = Field(description="The HTTP status again.")
    detail: str = Field(description="What is wrong with this very request.")
    code: str = Field(description="Stable.", json_schema_extra={"enum": [kind.value for kind in ErrorKind]})
    action: str = Field(description="What to do, always the same for a code.")
    request_id: str


class ResultModel(_Documented):
    """Either of the two, and never both."""

    answer: AnswerModel | None = None
    problem: ProblemModel | None = None


class BatchModel(_Documented):
    request_id: str
    results: list[ResultModel] = Field(description="One for each image, in their order.")


class BatchRequest(_Documented):
    image: list[Annotated[str, Field(json_schema_extra={"format": "binary"})]] = Field(
        min_length=1, description="The image files, each as a part of its own of this name."
    )
    options: OptionsModel | list[OptionsModel] | None = Field(
        None, description="Options for all images, or a list with those of each."
    )


class ModelDescription(_Documented):
    """What a served model is, and what it was trained for."""

    name: str = Field(description="What the option `model` takes.", examples=["compact_deep"])
    version: str
    provenance: str = Field(description="sha256 of the model file.")
    layout: str = Field(description="Names and order of the points.", examples=["wflw98"])
    input_size: int = Field(description="Side of the square crop that the network sees, pixels.")
    crop_scale: float = Field(description="Side of the crop over the longer side of the face's box.")
    topk: int = Field(description="Heatmap cells averaged for a point unless a request says otherwise.")
    decoders: list[str] = Field(description="What the option `decoder` takes.")
    degrees_of_freedom: dict[str, float] = Field(
        description="How heavy the tails of the errors are, by group: the p % ellipse is that of the covariance times "
        "the root of (v - 2) ((1 - p)^(-2/v) - 1). A group that is not there has a Gaussian's, -2 ln(1 - p).",
        examples=[{"jaw": 4.6, "nose": 18.4}],
    )
    run_id: str = Field(description="The training run that made the weights.")
    data: list[str] = Field(description="Names of the data sets trained on.")


class ModelsModel(_Documented):
    models: list[ModelDescription]


class LayoutModel(_Documented):
    name: str = Field(examples=["wflw98"])
    points: list[str] = Field(description="The points' names, in the order of answers.")
    groups: dict[str, list[int]]
    outlines: dict[str, list[list[int]]] = Field(description="Polylines to draw, as indices of points.")
    flip: list[int] = Field(description="flip[i] takes the place of point i in a mirrored picture.")
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
    media = ["image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "application/octet-stream"]
    return {
        "parameters": [
            *(_parameter("query", *each) | {"explode": each[0] == "box"} for each in _query()),
            *(_parameter("header", *each) for each in _HEADERS),
        ],
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
        "parameters": [_parameter("header", *each) for each in _HEADERS],
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _inline(BatchRequest)}}},
    }


def _parameter(place: str, name: str, schema: Mapping[str, Any], text: str) -> dict[str, Any]:
    return {"in": place, "name": name, "required": False, "schema": schema, "description": text}


def answer_response(model: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI's response for an answer that is written as JSON or, where Accept prefers it, as msgpack."""
    return {"model": model, "content": {name: {} for name in MSGPACK[:1]}}


def _query() -> Iterator[tuple[str, dict[str, Any], str]]:
    """Every option as a query parameter: name, schema, description."""
    for name, schema in _inline(OptionsModel)["properties"].items():
        text = schema.pop("description")
        if name == "boxes":
            example = ",".join(f"{v:g}" for v in EXAMPLE_BOX)
            schema = {"type": "array", "items": {"type": "string"}, "examples": [[example]]}
            yield "box", schema, "x1,y1,x2,y2 of a face in pixels; once for each face. Without it they are detected."
        else:
            yield name, schema, text


def _inline(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON schema without references: OpenAPI resolves them against the whole document."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return resolve(definitions[node["$ref"].rpartition("/")[2]])
            return {key: resolve(value) for key, value in node.items()}
        return [resolve(item) for item in node] if isinstance(node, list) else node

    return dict(resolve(schema))
