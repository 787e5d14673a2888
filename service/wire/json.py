"""The answer's dataclasses -> the wire's JSON. Arrays are written as they are, without an object per point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from landmarks.decoders import DECODERS
from landmarks.layout import PointLayout
from service.answer import Answer, Face, ServedModel
from service.errors import ServiceError
from service.request_ids import image_ids
from service.rest.negotiation import to_json
from service.wire.problem import problem


def answer_body(answer: Answer, request_id: str) -> dict[str, Any]:
    """As the wire has it, for a writer of `service.rest.negotiation`."""
    body = {
        "request_id": request_id,
        "model": {
            "name": answer.model.name,
            "version": answer.model.version,
            "provenance": answer.model.provenance,
        },
        "image": {"width": answer.width, "height": answer.height},
        "faces": [_face(face, answer.omit) for face in answer.faces],
        "timings_ms": answer.timings_ms,
        "warnings": [{"code": warning.code, "message": warning.message} for warning in answer.warnings],
    }
    return _without(body, answer.omit)


def batch_body(outcomes: Sequence[Answer | ServiceError], request_id: str) -> dict[str, Any]:
    parts = zip(outcomes, image_ids(request_id, len(outcomes)), strict=True)
    return {"request_id": request_id, "results": [_result(outcome, identity) for outcome, identity in parts]}


def _result(outcome: Answer | ServiceError, request_id: str) -> dict[str, Any]:
    if isinstance(outcome, ServiceError):
        return {"problem": problem(outcome.kind, outcome.message, request_id)}
    return {"answer": answer_body(outcome, request_id)}


def _face(face: Face, omit: frozenset[str]) -> dict[str, Any]:
    body = {
        "box": face.region.box,
        "box_source": face.region.source,
        "box_score": face.region.score,
        "score": face.score,
        "inter_ocular": face.inter_ocular,
        "points": face.points,
        "scores": face.scores,
        "covariances": face.covariances,
    }
    return _without(body, omit)


def _without(body: dict[str, Any], omit: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in omit} if omit else body


def models_body(models: Sequence[ServedModel]) -> dict[str, Any]:
    return {"models": [_model(model) for model in models]}


def _model(model: ServedModel) -> dict[str, Any]:
    metadata = model.metadata
    return {
        "name": model.name,
        "version": model.version,
        "provenance": model.provenance,
        "layout": metadata.layout.name,
        "input_size": metadata.codec.input_size,
        "crop_scale": metadata.crop_scale,
        "topk": metadata.codec.topk,
        "decoders": list(DECODERS),
        "degrees_of_freedom": dict(metadata.degrees_of_freedom),
        "run_id": metadata.run_id,
        "data": metadata.data,
    }


def layout_json(layout: PointLayout) -> bytes:
    """The points by name, what belongs together, what to draw, and which points change places in a mirror."""
    body = {
        "name": layout.name,
        "points": layout.point_names,
        "groups": dict(layout.groups),
        "outlines": {group: layout.outlines.get(group, ()) for group in layout.groups},
        "flip": layout.flip,
        "inter_ocular": layout.outer_eye_corners,
    }
    return to_json(body)
