"""gRPC interceptors: they refuse calls with too much metadata, without a key or beyond a share."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from landmarks_client.pb import landmarks_pb2 as pb
from service.errors import ErrorKind, ServiceError
from service.gateway import Gateway
from service.limits import MAX_FIELDS
from service.observability.request_scope import client
from service.request_ids import request_id_or_new
from service.rest.listener import peer_of
from service.rpc.connections import close_connection, peer_of_call
from service.rpc.errors import Context, abort, refuse, text_metadata
from service.rpc.field_limit import Nested, has_too_many_fields
from service.rpc.receiving import INLINE_BYTES, Receiver
from service.security.api_keys import MISSING_KEY, ApiKeys, key_of

_HEALTH: Final = "/grpc.health.v1.Health/"
_PUBLIC_METHODS: Final = (_HEALTH, "/grpc.reflection.")
"""Methods that need no API key."""
_TOO_MANY: Final = {"Detect": ErrorKind.TOO_MANY_BOXES, "DetectBatch": ErrorKind.TOO_MANY_IMAGES}
"""What a method's message has too many of when it has too many fields; INVALID_REQUEST for other methods."""
_NESTED: Final[Mapping[str, Nested]] = {
    "DetectBatch": {pb.DetectBatchRequest.REQUESTS_FIELD_NUMBER: {}},
    "Track": {
        pb.TrackRequest.OPTIONS_FIELD_NUMBER: {
            pb.TrackOptions.DETECT_FIELD_NUMBER: {},
            pb.TrackOptions.RESUME_FIELD_NUMBER: {},
        },
        pb.TrackRequest.FRAME_FIELD_NUMBER: {pb.TrackFrame.RAW_FIELD_NUMBER: {}},
    },
}
"""The fields of a method's message whose own fields count."""
_MALFORMED: Final = "the message is not valid protobuf of this method's request, or is truncated"

MAX_METADATA_BYTES: Final = 2**14
"""Of one call, as for the headers of REST."""
MAX_METADATA_FIELDS: Final = 100
_FIELD_OVERHEAD: Final = 32
"""Bytes that gRPC counts for a field beside its name and value (RFC 9113, 6.5.2)."""
_TOO_MUCH_METADATA: Final = (
    f"the metadata have more than {MAX_METADATA_BYTES} bytes or {MAX_METADATA_FIELDS} fields: send fewer"
)
SEND_SECONDS: Final = 30.0
"""In which a client must take the answer of a call."""

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class MetadataInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls that have too much metadata.

    gRPC does so by itself, but only for clients that have acknowledged its settings. Until then it takes 16 MiB a call,
    which half a million fields of a few bytes are. The connection of such a client is closed, with its other calls.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        fields = details.invocation_metadata
        if (
            len(fields) > MAX_METADATA_FIELDS
            or sum(len(name) + len(text) for name, text in fields) > MAX_METADATA_BYTES
        ):
            return grpc.stream_stream_rpc_method_handler(partial(self._refuse, len(fields)))
        return await continuation(details)

    async def _refuse(self, fields: int, _: AsyncIterator[Any], context: Context) -> None:
        error = ServiceError(ErrorKind.HEADERS_TOO_LARGE, _TOO_MUCH_METADATA)
        peer = peer_of_call(context.peer())
        if fields * _FIELD_OVERHEAD > MAX_METADATA_BYTES and peer is not None:
            close_connection(peer)
            identity = request_id_or_new(None)  # to read the metadata once more would take long
            self._gateway.telemetry.refused("grpc", identity, error.kind.value)
            await abort(context, error, identity)
        await refuse(context, error, self._gateway.telemetry)


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


class ReceivingInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Receives the messages of all calls, and refuses those that have too many fields or cannot be parsed.

    gRPC itself would receive a message before the handler is called, whatever is in flight. Handlers therefore become
    those of streams, which ask for their messages; clients see no difference.
    """

    def __init__(self, gateway: Gateway, receiver: Receiver, health_receiver: Receiver, calls_per_peer: int) -> None:
        """`health_receiver`: for the health service, which must answer whatever others send."""
        self._gateway = gateway
        self._receiver, self._health_receiver = receiver, health_receiver
        self._calls_per_peer = calls_per_peer
        self._calls: Counter[str] = Counter()
        self._counted: set[asyncio.Task[Any]] = set()

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        if handler is None:
            return None
        message = partial(self._message, details.method, handler.request_deserializer)

        async def unary(_: AsyncIterator[bytes], context: Context) -> Any:
            async with self._refusing(context), message(context) as request:
                answering = handler.unary_unary(request, context)
                del request  # it has a copy of the image
                response = await _serialized(handler.response_serializer, await answering)
            taken, call = _limit_sending(context), asyncio.current_task()
            if call is not None:
                call.add_done_callback(lambda _: taken())
            return response

        async def watch(_: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
            async with self._refusing(context), message(context) as request:
                pass
            async for response in handler.unary_stream(request, context):
                yield response

        async def stream(_: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
            context = _KnownPeer(context)
            receive = partial(message, context, may_end=True, call=asyncio.current_task())
            async with self._refusing(context), Requests(receive) as requests:
                async for response in handler.stream_stream(requests, context):
                    taken = _limit_sending(context)
                    try:
                        yield response
                    finally:
                        taken()

        if handler.unary_unary is not None:
            return grpc.stream_unary_rpc_method_handler(unary)
        return grpc.stream_stream_rpc_method_handler(
            stream if handler.stream_stream is not None else watch, response_serializer=handler.response_serializer
        )

    @asynccontextmanager
    async def _message(
        self,
        method: str,
        parse: Callable[[bytes], Any],
        context: Context,
        *,
        may_end: bool = False,
        call: asyncio.Task[Any] | None = None,
    ) -> AsyncIterator[Any]:
        """The next message of a call to `method`, None after the last. Raises ServiceError for one that is refused.

        `call`: its task, if not the current one.
        """
        name = method.rpartition("/")[2]
        receiver = self._health_receiver if method.startswith(_HEALTH) else self._receiver
        deadline = self._gateway.deadline(context.time_remaining())
        self._count(context, call or asyncio.current_task())
        if name in _TOO_MANY:
            self._gateway.refuse_if_full("grpc")
        async with receiver.message(context, deadline, partial(_parsed, parse, name)) as request:
            if request is None and not may_end:
                raise ServiceError(ErrorKind.INVALID_REQUEST, _MALFORMED)
            yield request

    @asynccontextmanager
    async def _refusing(self, context: Context) -> AsyncIterator[None]:
        """A call whose message is refused ends."""
        try:
            yield
        except ServiceError as error:
            await refuse(context, error, self._gateway.telemetry)

    def _count(self, context: Context, task: asyncio.Task[Any] | None) -> None:
        """Counts a call of its peer until it has ended. Raises ServiceError of kind OVERLOADED beyond the limit."""
        peer = peer_of_call(context.peer())
        if peer is None or task is None or task in self._counted:
            return
        address = peer_of(peer.address)
        if self._calls[address] >= self._calls_per_peer:
            raise ServiceError(
                ErrorKind.OVERLOADED, f"{self._calls_per_peer} calls of this address are in progress already"
            )
        self._calls[address] += 1
        self._counted.add(task)
        task.add_done_callback(partial(self._forget, address))

    def _forget(self, address: str, task: asyncio.Task[Any]) -> None:
        self._counted.discard(task)
        self._calls[address] -= 1
        if not self._calls[address]:
            del self._calls[address]


class _KnownPeer:
    """The context of a call, which asks gRPC once for the peer: once a call is cancelled, that can crash."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._peer = context.peer()

    def peer(self) -> str:
        return str(self._peer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


class Requests:
    """The messages of a client's stream. The memory of each is held until the next is asked for.

    Raises ServiceError for one that is refused. The task of the call has to end it: while an answer is being sent, gRPC
    does not bear that another does.
    """

    def __init__(self, message: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        """`message`: receives the next one, None after the last."""
        self._message = message
        self._held = AsyncExitStack()

    def __aiter__(self) -> Requests:
        return self

    async def __anext__(self) -> Any:
        await self._held.aclose()
        request = await self._held.enter_async_context(self._message())
        if request is None:
            raise StopAsyncIteration
        return request

    def keep(self) -> AsyncExitStack:
        """Holds the memory of the last message on, until the stack that is returned is closed."""
        return self._held.pop_all()

    async def __aenter__(self) -> Requests:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._held.aclose()


def _parsed(parse: Callable[[bytes], Any], method: str, data: bytes) -> Any:
    """A message of the method. Raises ServiceError for one that is refused."""
    if has_too_many_fields(data, _NESTED.get(method)):
        kind = _TOO_MANY.get(method, ErrorKind.INVALID_REQUEST)
        raise ServiceError(kind, f"the message has more than {MAX_FIELDS} fields: send it in parts")
    try:
        return parse(data)
    except DecodeError as error:
        raise ServiceError(ErrorKind.INVALID_REQUEST, _MALFORMED) from error


def _limit_sending(context: Context) -> Callable[[], None]:
    """Closes the connection of the current call after SEND_SECONDS, if its client has not taken the answer by then.

    Returns what is called when it has. The call alone cannot be ended: gRPC would keep the answer as long as there is
    the connection.
    """
    peer, loop = peer_of_call(context.peer()), asyncio.get_running_loop()
    if peer is None:
        return lambda: None
    return loop.call_later(SEND_SECONDS, loop.run_in_executor, None, close_connection, peer).cancel


async def _serialized(serialize: Callable[[Any], bytes], response: Any) -> bytes:
    return await asyncio.to_thread(serialize, response) if response.ByteSize() > INLINE_BYTES else serialize(response)
