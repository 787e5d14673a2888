"""Messages that are no protobuf: told to the client as every other failure, which gRPC by itself would not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from service.errors import ErrorKind, ServiceError
from service.gateway import Gateway, request_id
from service.rpc.errors import REQUEST_ID_KEY, STATUS, trailing_metadata


class ReadableCheck(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Answers a message that cannot be read with INVALID_REQUEST instead of UNKNOWN and a trace in the log."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def answered(request: Any, context: Any) -> Any:
            if isinstance(request, DecodeError):
                await self._refuse(context)
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            answered, _read(handler.request_deserializer), handler.response_serializer
        )

    async def _refuse(self, context: Any) -> None:
        given = [value for name, value in context.invocation_metadata() or () if name == REQUEST_ID_KEY]
        identity = request_id(given[0] if given else None)
        error = ServiceError(
            ErrorKind.INVALID_REQUEST, "the message is no protobuf of this method's schema, or is cut off"
        )
        self._gateway.telemetry.refused("grpc", identity, error.kind.value)
        await context.abort(STATUS[error.kind], error.message, trailing_metadata(error, identity))


def _read(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """The message; or what is wrong with it."""

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError as error:
            return error

    return read
