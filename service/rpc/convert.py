"""Between the wire's messages and the pipeline's dataclasses."""

from __future__ import annotations

from google.protobuf.unknown_fields import UnknownFieldSet

from service.errors import ErrorKind, ServiceError
from service.pipeline import Answer, Face, Options
from service.rpc.pb import landmarks_pb2 as pb


def read_options(request: pb.DetectRequest) -> Options:
    """Raises ServiceError of kind INVALID_REQUEST for a field that this server does not know."""
    if any(len(UnknownFieldSet(message)) for message in (request, *request.boxes)):
        raise ServiceError(
            ErrorKind.INVALID_REQUEST, "unknown option: the request has a field that is not in this server's schema"
        )
    for name in ("topk", "max_faces"):
        if request.HasField(name) and getattr(request, name) < 1:
            raise ServiceError(ErrorKind.INVALID_REQUEST, f"{name} must be a whole number of at least 1")
    return Options(
        tuple((box.x1, box.y1, box.x2, box.y2) for box in request.boxes),
        request.topk if request.HasField("topk") else None,
        request.max_faces if request.HasField("max_faces") else None,
    )


def answer_message(answer: Answer, request_id: str) -> pb.DetectResponse:
    return pb.DetectResponse(
        request_id=request_id,
        model=pb.Model(
            name=answer.model.name, version=answer.model.version, provenance=answer.model.provenance
        ),
        image=pb.Image(width=answer.width, height=answer.height),
        faces=[_face(face) for face in answer.faces],
        timings_ms=pb.Timings(**answer.timings_ms),
    )  # fmt: skip


def _face(face: Face) -> pb.Face:
    return pb.Face(
        box=face.region.box.tolist(),
        box_source=face.region.source,
        box_score=None if face.region.score is None else float(face.region.score),
        score=float(face.score),
        inter_ocular=float(face.inter_ocular),
        # tolist is several times faster than iterating over the array
        points=face.points.ravel().tolist(),
        scores=face.scores.tolist(),
        covariances=face.covariances.ravel().tolist(),
    )
