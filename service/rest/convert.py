"""The answer's dataclasses -> the wire's JSON. Arrays are written as they are, without an object per point."""

from __future__ import annotations

from typing import Any

import orjson

from landmarks import layout
from service.pipeline import Answer, Face


def answer_json(answer: Answer, request_id: str) -> bytes:
    """float32 numbers are written with the fewest digits that read back as the same float32."""
    body = {
        "request_id": request_id,
        "model": {
            "name": answer.model.name,
            "version": answer.model.version,
            "provenance": answer.model.provenance,
        },
        "image": {"width": answer.width, "height": answer.height},
        "faces": [_face(face) for face in answer.faces],
        "timings_ms": answer.timings_ms,
    }
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def _face(face: Face) -> dict[str, Any]:
    return {
        "box": face.region.box,
        "box_source": face.region.source,
        "box_score": face.region.score,
        "score": face.score,
        "inter_ocular": face.inter_ocular,
        "points": face.points,
        "scores": face.scores,
        "covariances": face.covariances,
    }


def layout_json() -> bytes:
    """The 98 points by name, what belongs together, what to draw, and which points change places in a mirror."""
    body = {
        "name": layout.LAYOUT_NAME,
        "points": layout.POINT_NAMES,
        "groups": dict(layout.GROUPS),
        "outlines": dict(layout.OUTLINES),
        "flip": layout.FLIP,
        "inter_ocular": layout.OUTER_EYE_CORNERS,
    }
    return orjson.dumps(body)
