"""Error kinds as HTTP: one status for every kind, and the problem document (RFC 9457) that carries the code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from starlette.responses import Response

from service.errors import RETRY_AFTER_SECONDS, ErrorKind, ServiceError

PROBLEM_JSON: Final = "application/problem+json"

STATUS: Final[Mapping[ErrorKind, int]] = {
    ErrorKind.INVALID_REQUEST: 400,
    ErrorKind.INVALID_BOX: 400,
    ErrorKind.TOO_MANY_BOXES: 400,
    ErrorKind.TOO_MANY_IMAGES: 400,
    ErrorKind.UNKNOWN_MODEL: 404,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorKind.NOT_AN_IMAGE: 415,
    ErrorKind.UNSUPPORTED_IMAGE: 415,
    ErrorKind.DAMAGED_IMAGE: 422,
    ErrorKind.TOO_MANY_BYTES: 413,
    ErrorKind.TOO_MANY_PIXELS: 413,
    ErrorKind.SIDE_TOO_LONG: 413,
    ErrorKind.UNAUTHENTICATED: 401,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.METHOD_NOT_ALLOWED: 405,
    ErrorKind.OVERLOADED: 429,
    ErrorKind.DEADLINE_EXCEEDED: 504,
    ErrorKind.UNAVAILABLE: 503,
    ErrorKind.INTERNAL: 500,
}


def problem(kind: ErrorKind, detail: str, request_id: str) -> dict[str, Any]:
    """The problem document. `code`, `action` and `request_id` are this service's own members."""
    return {
        "type": f"urn:problem-type:landmarks:{kind.value}",
        "title": kind.title,
        "status": STATUS[kind],
        "detail": detail,
        "code": kind.value,
        "action": kind.action,
        "request_id": request_id,
    }


def error_response(error: ServiceError, request_id: str) -> Response:
    headers = {"X-Request-ID": request_id}
    if error.kind in RETRY_AFTER_SECONDS:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS[error.kind])
    if error.kind is ErrorKind.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = 'Bearer realm="landmarks"'
    body = orjson.dumps(problem(error.kind, error.message, request_id))
    return Response(body, STATUS[error.kind], headers, PROBLEM_JSON)
