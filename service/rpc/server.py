"""The gRPC API: the landmarks service, health and reflection. What a request means is in `service.pipeline`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.pb import landmarks_pb2_grpc
from service.answer import count_faces
from service.deadline import Deadline
from service.errors import ServiceError
from service.gateway import Gateway
from service.memory import MemoryBudget
from service.observability.request_scope import stage
from service.readiness import Readiness
from service.request_ids import request_id_or_new
from service.rpc.convert import answer_message, batch_message, models_message, options_of, read_batch
from service.rpc.errors import REQUEST_ID_KEY, Context, abort, text_metadata
from service.rpc.interceptors import (
    MAX_METADATA_BYTES,
    ApiKeyInterceptor,
    MetadataInterceptor,
    ReceivingInterceptor,
    Requests,
)
from service.rpc.receiving import LOOKAHEAD_BYTES, Receiver
from service.rpc.tracking import Stream
from service.security.api_keys import Protection
from service.stages import with_faces

MESSAGE_OVERHEAD = 2**20
"""Bytes that a request may have in addition to its images. gRPC refuses a larger message before it is parsed."""
MAX_CALLS = 512
"""In progress, those to health and reflection as well; of one peer its share. Those beyond are refused at once."""
SETTINGS_TIMEOUT_MS = 5_000
"""In which a client must acknowledge the settings of its connection."""
MAX_STREAMS = 128
"""Calls in progress on one connection. Clients wait with those beyond."""
HEALTH_MESSAGES = 2
"""Largest messages to the health service for which there is memory: one, and what is kept of slow ones."""
_NO_COMPRESSION = 1
"""The bit of gRPC's algorithm "identity"."""
MIN_PING_INTERVAL_MS = 5_000
"""Clients that send keepalive pings more often are disconnected. Half of the shortest interval that grpc-go uses."""
REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Landmarks"].full_name
_WATCH_INTERVAL = 1.0
"""Seconds between two looks at the readiness for a client that watches it."""


class LandmarksServicer(landmarks_pb2_grpc.LandmarksServicer):
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def Detect(self, request: pb.DetectRequest, context: Context) -> pb.DetectResponse:  # noqa: N802
        async with self._admitted(context) as (identity, deadline):
            image, options = request.image, options_of(request)
            del request  # it has a copy of the image
            answer = await self._gateway.detect(image, options, deadline)
            with stage("encode"):
                return await with_faces(len(answer.faces), lambda: answer_message(answer, identity))

    async def DetectBatch(self, request: pb.DetectBatchRequest, context: Context) -> pb.DetectBatchResponse:  # noqa: N802
        async with self._admitted(context) as (identity, deadline):
            requests = read_batch(request)
            del request  # it has copies of the images
            outcomes = await self._gateway.detect_batch(requests, identity, deadline)
            with stage("encode"):
                return await with_faces(count_faces(outcomes), lambda: batch_message(outcomes, identity))

    async def Track(self, requests: Requests, context: Context) -> AsyncIterator[pb.TrackResponse]:  # noqa: N802
        metadata = text_metadata(context.invocation_metadata())
        identity = request_id_or_new(metadata.get(REQUEST_ID_KEY))
        stream = Stream(self._gateway, identity, metadata, context.time_remaining)
        try:
            async with aclosing(stream.answers(requests)) as answers:
                async for answer in answers:
                    yield answer
        except ServiceError as error:
            await abort(context, error, identity)

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: ARG002, N802
        return models_message(self._gateway.models)

    @asynccontextmanager
    async def _admitted(self, context: Context) -> AsyncIterator[tuple[str, Deadline]]:
        """Admits the request and yields its id and deadline. A ServiceError inside ends the call with its status."""
        metadata = text_metadata(context.invocation_metadata())
        identity = request_id_or_new(metadata.get(REQUEST_ID_KEY))
        try:
            with self._gateway.admitted("grpc", identity, metadata):
                yield identity, self._gateway.deadline(context.time_remaining())
        except ServiceError as error:
            await abort(context, error, identity)


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """grpc.health.v1: SERVING while the gateway is ready. Its services are "" (the server) and the landmarks service.

    Not the servicer of grpcio-health-checking, for the reasons of decision 0023.
    """

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    async def Check(self, request: Any, context: Context) -> Any:  # noqa: N802
        if request.service not in ("", SERVICE_NAME):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"ask for the health of {SERVICE_NAME}")
        return health_pb2.HealthCheckResponse(status=await self._status(request.service))

    async def Watch(self, request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        last = None
        while True:
            stopping = self._readiness.stopping  # read first, so that a change meanwhile is still reported
            status = await self._status(request.service)
            if status != last:
                yield health_pb2.HealthCheckResponse(status=status)
                last = status
            if stopping:
                return  # a call without an end would delay the stop of the server by the whole grace period
            await asyncio.sleep(_WATCH_INTERVAL)

    async def _status(self, service: str) -> int:
        statuses = health_pb2.HealthCheckResponse.ServingStatus
        if service not in ("", SERVICE_NAME):
            return int(statuses.SERVICE_UNKNOWN)
        return int(statuses.SERVING if await self._readiness.check() else statuses.NOT_SERVING)


def build_server(
    gateway: Gateway,
    address: str,
    protection: Protection | None = None,
    max_connections: int = 1000,
    read_timeout: float = 10.0,
) -> tuple[grpc.aio.Server, int]:
    """The server, bound to `address` (host:port) but not started, and its port. Raises OSError when that is in use."""
    protection = protection or Protection()
    largest = max(gateway.max_bytes, gateway.max_batch_bytes) + MESSAGE_OVERHEAD
    receiver = Receiver(gateway.memory, largest, read_timeout)
    health_receiver = Receiver(MemoryBudget(3 * HEALTH_MESSAGES * largest), largest, read_timeout)
    calls_per_peer = max(1, int(MAX_CALLS * gateway.memory.peer_share))
    server = grpc.aio.server(
        interceptors=[
            MetadataInterceptor(gateway),
            *([ApiKeyInterceptor(gateway, protection.keys)] if protection.keys else []),
            ReceivingInterceptor(gateway, receiver, health_receiver, calls_per_peer),
        ],
        maximum_concurrent_rpcs=MAX_CALLS,
        options=[
            ("grpc.max_receive_message_length", largest),
            # a few kilobytes could become the largest message
            ("grpc.compression_enabled_algorithms_bitset", _NO_COMPRESSION),
            ("grpc.max_concurrent_streams", MAX_STREAMS),
            # what is kept of a message before it is asked for; with probing it grows to megabytes
            ("grpc.http2.bdp_probe", 0),
            ("grpc.http2.lookahead_bytes", LOOKAHEAD_BYTES),
            ("grpc.max_connection_idle_ms", 300_000),
            ("grpc.max_connection_age_ms", 3_600_000),
            ("grpc.max_connection_age_grace_ms", 120_000),
            ("grpc.max_send_message_length", -1),
            # of a call's metadata; without the second, gRPC refuses part of the calls whose metadata is smaller
            ("grpc.max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.max_allowed_incoming_connections", max_connections),
            # calls that wait to be looked at, which have metadata
            ("grpc.server.max_pending_requests", MAX_CALLS),
            ("grpc.server.max_pending_requests_hard_limit", MAX_CALLS),
            # before they are acknowledged, the limits of streams and of metadata are HTTP/2's
            ("grpc.http2.settings_timeout", SETTINGS_TIMEOUT_MS),
            # a second server on the same port is an error: it must not share the port
            ("grpc.so_reuseport", 0),
            # close connections whose client no longer responds; clients may send keepalive pings, also between calls
            ("grpc.server_handshake_timeout_ms", 10_000),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
        ],
    )
    landmarks_pb2_grpc.add_LandmarksServicer_to_server(LandmarksServicer(gateway), server)  # type: ignore[no-untyped-call]
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(gateway.readiness), server)
    names = (SERVICE_NAME, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    server.add_generic_rpc_handlers((_reflection_v1(names),))
    try:
        if protection.tls is None:
            return server, server.add_insecure_port(address)
        return server, server.add_secure_port(address, protection.tls.grpc_credentials())
    except RuntimeError as error:
        raise OSError(f"{address} cannot be bound") from error


def _reflection_v1(names: Iterable[str]) -> grpc.GenericRpcHandler:
    """grpc.reflection.v1, which grpcio-reflection lacks. Its messages are those of v1alpha, renamed."""
    method = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(names).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(REFLECTION_V1, {"ServerReflectionInfo": method})
