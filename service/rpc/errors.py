"""Error kinds as gRPC: one status for every kind, the google.rpc details that carry the code, and how a call ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from grpc_status import rpc_status

from service.errors import RETRY_AFTER_SECONDS, ErrorKind, ServiceError
from service.observability.request_scope import Telemetry
from service.request_ids import request_id_or_new

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

STATUS: Final[Mapping[ErrorKind, StatusCode]] = {
    ErrorKind.INVALID_REQUEST: StatusCode.INVALID_ARGUMENT,
    ErrorKind.INVALID_BOX: StatusCode.INVALID_ARGUMENT,
    ErrorKind.TOO_MANY_BOXES: StatusCode.INVALID_ARGUMENT,
    ErrorKind.TOO_MANY_IMAGES: StatusCode.INVALID_ARGUMENT,
    ErrorKind.UNKNOWN_MODEL: StatusCode.NOT_FOUND,
    ErrorKind.CLIENT_TOO_SLOW: StatusCode.DEADLINE_EXCEEDED,
    # what gRPC itself answers to metadata over the limit
    ErrorKind.HEADERS_TOO_LARGE: StatusCode.RESOURCE_EXHAUSTED,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: StatusCode.INVALID_ARGUMENT,
    ErrorKind.NOT_AN_IMAGE: StatusCode.INVALID_ARGUMENT,
    ErrorKind.UNSUPPORTED_IMAGE: StatusCode.INVALID_ARGUMENT,
    ErrorKind.DAMAGED_IMAGE: StatusCode.INVALID_ARGUMENT,
    # what gRPC itself answers to a message that is far over the limit
    ErrorKind.TOO_MANY_BYTES: StatusCode.RESOURCE_EXHAUSTED,
    ErrorKind.TOO_MANY_PIXELS: StatusCode.INVALID_ARGUMENT,
    ErrorKind.SIDE_TOO_LONG: StatusCode.INVALID_ARGUMENT,
    ErrorKind.UNAUTHENTICATED: StatusCode.UNAUTHENTICATED,
    ErrorKind.FORBIDDEN: StatusCode.PERMISSION_DENIED,
    ErrorKind.NOT_FOUND: StatusCode.UNIMPLEMENTED,
    ErrorKind.METHOD_NOT_ALLOWED: StatusCode.UNIMPLEMENTED,
    ErrorKind.OVERLOADED: StatusCode.RESOURCE_EXHAUSTED,
    ErrorKind.DEADLINE_EXCEEDED: StatusCode.DEADLINE_EXCEEDED,
    ErrorKind.UNAVAILABLE: StatusCode.UNAVAILABLE,
    ErrorKind.INTERNAL: StatusCode.INTERNAL,
}

DOMAIN: Final = "landmarks.v1"
"""Within which ErrorInfo's reasons are unique."""

CODE_KEY: Final = "landmarks-error-code"
REQUEST_ID_KEY: Final = "x-request-id"
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
"""gRPC's own retry hint (gRFC A6): its clients' retry policies obey it; a negative number forbids retries."""


async def abort(context: Context, error: ServiceError, identity: str) -> None:
    """Ends the call with the error's status, message and details. Never returns: gRPC raises AbortError."""
    await context.abort(STATUS[error.kind], error.message, trailing_metadata(error, identity))


async def refuse(context: Context, error: ServiceError, telemetry: Telemetry) -> None:
    """Counts and logs a call that is not admitted, and ends it as `abort` does."""
    identity = request_id_or_new(text_metadata(context.invocation_metadata()).get(REQUEST_ID_KEY))
    telemetry.refused("grpc", identity, error.kind.value)
    await abort(context, error, identity)


def text_metadata(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str]:
    """A call's metadata without its binary values; of a name that occurs twice, the first value."""
    texts: dict[str, str] = {}
    for name, value in metadata or ():
        if isinstance(value, str):
            texts.setdefault(name, value)
    return texts


def trailing_metadata(error: ServiceError, request_id: str) -> tuple[tuple[str, str | bytes], ...]:
    """The code for programs that read metadata, and google.rpc.Status for those that read details."""
    seconds = RETRY_AFTER_SECONDS.get(error.kind)
    return (
        (CODE_KEY, error.kind.value),
        (REQUEST_ID_KEY, request_id),
        (PUSHBACK_KEY, "-1" if seconds is None else str(1000 * seconds)),
        *rpc_status.to_status(status(error, request_id)).trailing_metadata,
    )


def status(error: ServiceError, request_id: str) -> Status:
    """What `grpc_status.rpc_status.from_call` gives a client: ErrorInfo, RequestInfo, and RetryInfo where it helps."""
    seconds = RETRY_AFTER_SECONDS.get(error.kind)
    details = [
        ErrorInfo(
            reason=error.kind.value, domain=DOMAIN, metadata={"title": error.kind.title, "action": error.kind.action}
        ),
        RequestInfo(request_id=request_id),
        *([] if seconds is None else [RetryInfo(retry_delay=Duration(seconds=seconds))]),
    ]
    packed = [AnyMessage() for _ in details]
    for wrapped, detail in zip(packed, details, strict=True):
        wrapped.Pack(detail)
    return Status(code=STATUS[error.kind].value[0], message=error.message, details=packed)
