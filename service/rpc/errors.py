"""Error kinds as gRPC: one status for every kind, and the trailing metadata that carries the code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from grpc import StatusCode

from service.errors import RETRY_AFTER_SECONDS, ErrorKind, ServiceError

STATUS: Final[Mapping[ErrorKind, StatusCode]] = {
    ErrorKind.INVALID_REQUEST: StatusCode.INVALID_ARGUMENT,
    ErrorKind.INVALID_BOX: StatusCode.INVALID_ARGUMENT,
    ErrorKind.TOO_MANY_BOXES: StatusCode.INVALID_ARGUMENT,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: StatusCode.INVALID_ARGUMENT,
    ErrorKind.NOT_AN_IMAGE: StatusCode.INVALID_ARGUMENT,
    ErrorKind.DAMAGED_IMAGE: StatusCode.INVALID_ARGUMENT,
    # what gRPC itself answers to a message that is far over the limit
    ErrorKind.TOO_MANY_BYTES: StatusCode.RESOURCE_EXHAUSTED,
    ErrorKind.TOO_MANY_PIXELS: StatusCode.INVALID_ARGUMENT,
    ErrorKind.NOT_FOUND: StatusCode.UNIMPLEMENTED,
    ErrorKind.METHOD_NOT_ALLOWED: StatusCode.UNIMPLEMENTED,
    ErrorKind.OVERLOADED: StatusCode.RESOURCE_EXHAUSTED,
    ErrorKind.DEADLINE_EXCEEDED: StatusCode.DEADLINE_EXCEEDED,
    ErrorKind.UNAVAILABLE: StatusCode.UNAVAILABLE,
    ErrorKind.INTERNAL: StatusCode.INTERNAL,
}

CODE_KEY: Final = "landmarks-error-code"
REQUEST_ID_KEY: Final = "x-request-id"
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
"""gRPC's own retry hint (gRFC A6): its clients' retry policies obey it; a negative number forbids retries."""


def trailing_metadata(error: ServiceError, request_id: str) -> tuple[tuple[str, str], ...]:
    metadata = ((CODE_KEY, error.kind.value), (REQUEST_ID_KEY, request_id))
    if error.kind in (ErrorKind.OVERLOADED, ErrorKind.UNAVAILABLE):
        return (*metadata, (PUSHBACK_KEY, str(1000 * RETRY_AFTER_SECONDS)))
    return (*metadata, (PUSHBACK_KEY, "-1"))
