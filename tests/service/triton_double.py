"""A stand-in for Triton on a real socket, which says and does what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from service.endpoint import Endpoint


class TritonDouble(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers every inference with its own name, or with `failure`; with a `gate`, not before that is open."""

    def __init__(self, name: str = "a") -> None:
        self.name = name
        self.address = ""
        self.ready = True
        self.failure: tuple[grpc.StatusCode, str] | None = None
        self.gate: asyncio.Event | None = None
        self.arrived = asyncio.Event()
        self.answered = asyncio.Event()
        self.requests: list[pb.ModelInferRequest] = []
        self._server: Any = None

    async def start(self) -> None:
        """Listens on a free port; after `stop`, on the same one again."""
        self._server = grpc.aio.server()
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        """At once: calls in flight break off."""
        await self._server.stop(None)

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.ServerReadyResponse(ready=self.ready)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests.append(request)
        self.arrived.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            await context.abort(*self.failure)
        self.answered.set()
        return pb.ModelInferResponse(model_name=self.name)


@asynccontextmanager
async def doubles(*names: str) -> AsyncIterator[list[TritonDouble]]:
    """Servers that run, each under a name of its own."""
    servers = [TritonDouble(name) for name in names]
    for server in servers:
        await server.start()
    try:
        yield servers
    finally:
        for server in servers:
            await server.stop()


async def prove(endpoint: Endpoint[str]) -> str:
    """For endpoints that serve the same: whatever is ready is right."""
    return "the model"


def name_of(answer: Any) -> str:
    """Which of the doubles gave an answer of tritonclient's."""
    return str(answer.get_response().model_name)
