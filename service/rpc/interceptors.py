"""gRPC interceptors: they refuse calls without a valid API key, and messages that are not read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from landmarks_client.pb import landmarks_pb2 as pb
from service.errors import ErrorKind, ServiceError
from service.gateway import Gateway
from service.limits import MAX_FIELDS
from service.observability.request_scope import client
from service.rpc.errors import Context, refuse, text_metadata
from service.rpc.field_limit import has_too_many_fields
from service.security.api_keys import MISSING_KEY, ApiKeys, key_of

_PUBLIC_METHODS: Final = ("/grpc.health.v1.Health/", "/grpc.reflection.")
"""Methods that need no API key."""
_TOO_MANY: Final = {"Detect": ErrorKind.TOO_MANY_BOXES, "DetectBatch": ErrorKind.TOO_MANY_IMAGES}
"""What a method's message has too many of when it has too many fields; INVALID_REQUEST for other methods."""
_REQUESTS: Final = pb.DetectBatchRequest.DESCRIPTOR.fields_by_name["requests"].number
_MALFORMED: Final = "the message is not valid protobuf of this method's request, or is truncated"

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class ApiKeyInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls without a valid API key, except for health and reflection."""

    def __init__(self, gateway: Gateway, keys: ApiKeys) -> None:
        self._gateway = gateway
        self._keys = keys

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        if not details.method.startswith(_PUBLIC_METHODS):
            metadata = text_metadata(details.invocation_metadata)
            holder = self._keys.holder(key_of(metadata.get("authorization"), metadata.get("x-api-key")))
            if holder is None:
                # fits every kind of call, because none of its messages is read
                return grpc.stream_stream_rpc_method_handler(self._refuse)
            client.set(holder)
        return await continuation(details)

    async def _refuse(self, _: AsyncIterator[Any], context: Context) -> None:
        await refuse(context, ServiceError(ErrorKind.UNAUTHENTICATED, MISSING_KEY), self._gateway.telemetry)


class MessageInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses messages that have too many fields, or cannot be parsed: gRPC itself answers UNKNOWN to the latter."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def unary_unary(request: Any, context: Context) -> Any:
            if isinstance(request, ServiceError):
                await refuse(context, request, self._gateway.telemetry)
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            unary_unary, _parse_or_error(handler.request_deserializer, details.method), handler.response_serializer
        )


def _parse_or_error(parse: Callable[[bytes], Any], method: str) -> Callable[[bytes], Any]:
    """A parser of the method's messages that returns a ServiceError for those that are refused."""
    name = method.rpartition("/")[2]
    kind = _TOO_MANY.get(name, ErrorKind.INVALID_REQUEST)
    nested = _REQUESTS if name == "DetectBatch" else None

    def parse_or_error(data: bytes) -> Any:
        if has_too_many_fields(data, nested):
            return ServiceError(kind, f"the message has more than {MAX_FIELDS} fields: send it in parts")
        try:
            return parse(data)
        except DecodeError:
            return ServiceError(ErrorKind.INVALID_REQUEST, _MALFORMED)

    return parse_or_error
