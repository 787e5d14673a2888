"""Error kinds as HTTP: one status for every kind, and the body that carries the code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson
from starlette.responses import Response

from service.errors import RETRY_AFTER_SECONDS, ErrorKind, ServiceError

STATUS: Final[Mapping[ErrorKind, int]] = {
    ErrorKind.INVALID_REQUEST: 400,
    ErrorKind.INVALID_BOX: 400,
    ErrorKind.TOO_MANY_BOXES: 400,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorKind.NOT_AN_IMAGE: 415,
    ErrorKind.DAMAGED_IMAGE: 422,
    ErrorKind.TOO_MANY_BYTES: 413,
    ErrorKind.TOO_MANY_PIXELS: 413,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.METHOD_NOT_ALLOWED: 405,
    ErrorKind.OVERLOADED: 429,
    ErrorKind.DEADLINE_EXCEEDED: 504,
    ErrorKind.UNAVAILABLE: 503,
    ErrorKind.INTERNAL: 500,
}

RETRIABLE: Final = frozenset({ErrorKind.OVERLOADED, ErrorKind.UNAVAILABLE})
"""Kinds whose answer says when to try again."""


def error_response(error: ServiceError, request_id: str) -> Response:
    body = {"error": {"code": error.kind.value, "message": error.message}, "request_id": request_id}
    headers = {"X-Request-ID": request_id}
    if error.kind in RETRIABLE:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return Response(orjson.dumps(body), STATUS[error.kind], headers, "application/json")
