"""Failures as HTTP responses."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.responses import Response

from service.errors import RETRY_AFTER_SECONDS, ErrorKind, ServiceError
from service.wire.problem import PROBLEM_JSON, STATUS, problem


def error_response(error: ServiceError, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    """The problem document of an error, with its status and headers, and more `headers`."""
    headers = {"X-Request-ID": request_id, **(headers or {})}
    if error.kind in RETRY_AFTER_SECONDS:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS[error.kind])
    if error.kind is ErrorKind.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = 'Bearer realm="landmarks"'
    body = orjson.dumps(problem(error.kind, error.message, request_id))
    return Response(body, STATUS[error.kind], headers, PROBLEM_JSON)
