"""Messages that are no protobuf: told to the client as every other failure, which gRPC by itself would not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from service.errors import ErrorKind, ServiceError
from service.gateway import Gateway
from service.rpc.errors import refuse

_UNREADABLE: Final = "the message is no protobuf of this method's schema, or is cut off"


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
                await refuse(context, ServiceError(ErrorKind.INVALID_REQUEST, _UNREADABLE), self._gateway.telemetry)
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            answered, _read(handler.request_deserializer), handler.response_serializer
        )


def _read(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """The message; or what is wrong with it."""

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError as error:
            return error

    return read
