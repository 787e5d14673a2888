"""The gRPC door: Detect, health and reflection. What a request means is in `service.pipeline`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service.errors import ServiceError
from service.gateway import Gateway, Readiness, request_id
from service.rpc.convert import answer_message, batch_message, models_message, read_batch, read_options
from service.rpc.errors import REQUEST_ID_KEY, STATUS, trailing_metadata
from service.rpc.pb import landmarks_pb2 as pb
from service.rpc.pb import landmarks_pb2_grpc

MESSAGE_OVERHEAD = 2**20
"""Bytes that a request may have beside its image. A larger one is refused by gRPC before it is read."""
SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Landmarks"].full_name
_WATCH_SECONDS = 1.0

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class LandmarksServicer(landmarks_pb2_grpc.LandmarksServicer):
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def Detect(self, request: pb.DetectRequest, context: Context) -> pb.DetectResponse:  # noqa: N802
        async with self._admitted(context) as (identity, deadline):
            answer = await self._gateway.detect(request.image, read_options(request), deadline)
            return answer_message(answer, identity)

    async def DetectBatch(self, request: pb.DetectBatchRequest, context: Context) -> pb.DetectBatchResponse:  # noqa: N802
        async with self._admitted(context) as (identity, deadline):
            outcomes = await self._gateway.detect_each(read_batch(request), identity, deadline)
            return batch_message(outcomes, identity)

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: ARG002, N802
        return models_message(self._gateway.models)

    @asynccontextmanager
    async def _admitted(self, context: Context) -> AsyncIterator[tuple[str, float]]:
        """The request's id and deadline, having admitted it; what goes wrong inside ends the call as the table says."""
        identity = request_id(_metadata(context, REQUEST_ID_KEY))
        try:
            with self._gateway.admitted("grpc", identity):
                yield identity, self._gateway.deadline(context.time_remaining())
        except ServiceError as error:
            await context.abort(STATUS[error.kind], error.message, trailing_metadata(error, identity))


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """grpc.health.v1: serving when the engine is ready. Known are "" (the server) and the landmarks service."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    async def Check(self, request: Any, context: Context) -> Any:  # noqa: N802
        if request.service not in ("", SERVICE_NAME):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"ask for the health of {SERVICE_NAME}")
        return health_pb2.HealthCheckResponse(status=await self._status(request.service))

    async def Watch(self, request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        last = None
        while True:
            status = await self._status(request.service)
            if status != last:
                yield health_pb2.HealthCheckResponse(status=status)
                last = status
            await asyncio.sleep(_WATCH_SECONDS)

    async def _status(self, service: str) -> int:
        statuses = health_pb2.HealthCheckResponse.ServingStatus
        if service not in ("", SERVICE_NAME):
            return int(statuses.SERVICE_UNKNOWN)
        return int(statuses.SERVING if await self._readiness.check() else statuses.NOT_SERVING)


def build_server(gateway: Gateway, address: str) -> tuple[grpc.aio.Server, int]:
    """The server, bound to `address` (host:port) and not started yet, and its port. Raises OSError when it is taken."""
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", max(gateway.max_bytes, gateway.max_batch_bytes) + MESSAGE_OVERHEAD),
            ("grpc.max_send_message_length", -1),
            # a second server on the same port is an error, not a partner
            ("grpc.so_reuseport", 0),
        ]
    )
    landmarks_pb2_grpc.add_LandmarksServicer_to_server(LandmarksServicer(gateway), server)  # type: ignore[no-untyped-call]
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(gateway.readiness), server)
    names = (SERVICE_NAME, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    try:
        return server, server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"{address} cannot be bound") from error


def _metadata(context: Context, key: str) -> str | None:
    values = [value for name, value in context.invocation_metadata() or () if name == key]
    return values[0] if values and isinstance(values[0], str) else None
