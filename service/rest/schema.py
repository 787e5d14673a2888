"""What OpenAPI says of the wire. For documentation alone: answers are never built from these models, and a test checks
that real answers satisfy them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.errors import ErrorKind
from service.rest.errors import STATUS

Pair = Annotated[list[float], Field(min_length=2, max_length=2)]
Triple = Annotated[list[float], Field(min_length=3, max_length=3)]
BoxXyxy = Annotated[list[float], Field(min_length=4, max_length=4, examples=[[270.5, 166.0, 506.5, 531.5]])]


class _Documented(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OptionsModel(_Documented):
    boxes: list[BoxXyxy] = Field([], description="Where the faces are, x1 y1 x2 y2 in pixels. None: they are detected.")
    topk: int | None = Field(None, ge=1, description="Heatmap cells averaged for a point; unset: as validated.")
    max_faces: int | None = Field(None, ge=1, description="Of the faces detected, the largest so many.")


class JsonRequest(OptionsModel):
    image: str = Field(description="The image file in base64.", json_schema_extra={"format": "byte"})


class FormRequest(_Documented):
    image: str = Field(description="The image file.", json_schema_extra={"format": "binary"})
    options: OptionsModel | None = None


class ModelInfo(_Documented):
    name: str = Field(examples=["compact"])
    version: str = Field(examples=["1"])
    provenance: str = Field(description="sha256 of the model file.", examples=["sha256:9f86d0..."])


class ImageInfo(_Documented):
    width: int = Field(description="Pixels, of the image as shown.")
    height: int


class FaceModel(_Documented):
    box: BoxXyxy
    box_source: Literal["given", "detected"]
    box_score: float | None = Field(description="The detector's confidence in [0, 1]; null for a given box.")
    score: float = Field(description="Mean of the points' scores.")
    inter_ocular: float = Field(description="Distance between the outer corners of the eyes, pixels.")
    points: list[Pair] = Field(
        min_length=98, max_length=98, description="[x, y] in pixels; (0, 0) is the centre of the top-left pixel."
    )
    scores: list[float] = Field(min_length=98, max_length=98, description="Confidence of each point in [0, 1].")
    covariances: list[Triple] = Field(min_length=98, max_length=98, description="[xx, xy, yy] in pixels squared.")


class Timings(_Documented):
    decode: float
    detect: float
    crop: float
    infer: float
    total: float


class AnswerModel(_Documented):
    """Numbers of a face are 32-bit floats, equal to the last bit through REST and gRPC."""

    request_id: str
    model: ModelInfo
    image: ImageInfo
    faces: list[FaceModel] = Field(description="The largest first, or in the order of the given boxes; may be empty.")
    timings_ms: Timings


class ErrorInfo(_Documented):
    code: str = Field(description="Stable.", json_schema_extra={"enum": [kind.value for kind in ErrorKind]})
    message: str = Field(description="What is wrong and what to do.")


class ErrorModel(_Documented):
    error: ErrorInfo
    request_id: str


class LayoutModel(_Documented):
    name: str = Field(examples=["wflw98"])
    points: list[str] = Field(min_length=98, max_length=98, description="The points' names, in the order of answers.")
    groups: dict[str, list[int]]
    outlines: dict[str, list[list[int]]] = Field(description="Polylines to draw, as indices of points.")
    flip: list[int] = Field(description="flip[i] takes the place of point i in a mirrored picture.")
    inter_ocular: list[int] = Field(description="The two points whose distance is inter_ocular.")


def error_responses(*kinds: ErrorKind) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for these kinds, by status, with an example of each."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        entry = responses.setdefault(
            STATUS[kind],
            {"model": ErrorModel, "description": "", "content": {"application/json": {"examples": {}}}},
        )
        entry["description"] = ", ".join(filter(None, [entry["description"], kind.value]))
        example = {"error": {"code": kind.value, "message": "What is wrong and what to do."}, "request_id": "4f1c"}
        entry["content"]["application/json"]["examples"][kind.value] = {"value": example}
    return responses


_QUERY: Final = [
    ("box", {"type": "array", "items": {"type": "string"}, "example": ["270.5,166,506.5,531.5"]},
     "x1,y1,x2,y2 of a face in pixels; once for each face. Without it the faces are detected."),
    ("topk", {"type": "integer", "minimum": 1}, "Heatmap cells averaged for a point; unset: as validated."),
    ("max_faces", {"type": "integer", "minimum": 1}, "Of the faces detected, the largest so many."),
]  # fmt: skip
_HEADERS: Final = [
    ("X-Request-ID", {"type": "string"}, "Your id of this request; the answer repeats it."),
    ("X-Request-Timeout", {"type": "number"}, "Seconds after which you no longer want the answer."),
]


def landmarks_operation() -> Mapping[str, Any]:
    """OpenAPI's description of the request of POST /v1/landmarks: its three forms of body, and its parameters."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    media = ["image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "application/octet-stream"]
    parameters = [("query", *each) for each in _QUERY] + [("header", *each) for each in _HEADERS]
    return {
        "parameters": [
            {"in": place, "name": name, "required": False, "schema": schema, "description": text}
            for place, name, schema, text in parameters
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
