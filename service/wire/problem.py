"""Error kinds as problem documents (RFC 9457), with one HTTP status for every kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from service.errors import ErrorKind

PROBLEM_JSON: Final = "application/problem+json"

STATUS: Final[Mapping[ErrorKind, int]] = {
    ErrorKind.INVALID_REQUEST: 400,
    ErrorKind.INVALID_BOX: 400,
    ErrorKind.TOO_MANY_BOXES: 400,
    ErrorKind.TOO_MANY_IMAGES: 400,
    ErrorKind.UNKNOWN_MODEL: 404,
    ErrorKind.CLIENT_TOO_SLOW: 408,
    ErrorKind.HEADERS_TOO_LARGE: 431,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorKind.NOT_AN_IMAGE: 415,
    ErrorKind.UNSUPPORTED_IMAGE: 415,
    ErrorKind.DAMAGED_IMAGE: 422,
    ErrorKind.TOO_MANY_BYTES: 413,
    ErrorKind.TOO_MANY_PIXELS: 413,
    ErrorKind.SIDE_TOO_LONG: 413,
    ErrorKind.UNAUTHENTICATED: 401,
    ErrorKind.FORBIDDEN: 403,
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
