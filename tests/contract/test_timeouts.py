"""Clients that are slow or silent, or that disconnect, over real sockets."""

import asyncio
import gc
import socket
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.errors import ErrorKind, ServiceError
from service.gateway import Gateway
from service.memory import BODY_COPIES, MemoryBudget
from service.rest import timeouts
from service.rpc.server import HealthServicer
from service.server import RestServer
from tests.contract.apis import open_apis
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

pytestmark = pytest.mark.anyio

IMAGE = encoded(gradient_image())
BOX = "20.5,30.5,200.5,210.5"
HEAD = f"POST /v1/landmarks?box={BOX} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(IMAGE)}\r\n\r\n".encode()

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def rest_port(gateway: Gateway, read_timeout: float) -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = RestServer(gateway, grace=5, read_timeout=read_timeout)
        running = asyncio.ensure_future(server.serve(sockets=[listener]))
        await server.listening.wait()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await running


async def answer_to(port: int, *pieces: bytes) -> bytes:
    """Everything that the server answers to these bytes until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return answer


async def test_a_connection_without_a_complete_head_is_closed() -> None:
    async with rest_port(make_gateway(FakeEngine(), FakeDetector()), read_timeout=0.2) as port:
        pieces: list[list[bytes]] = [[], [HEAD[:30]], [b"\r\n\r\n"]]
        assert set(await asyncio.gather(*(answer_to(port, *each) for each in pieces))) == {b""}


async def test_the_timeout_holds_for_a_second_request_too() -> None:
    async with rest_port(make_gateway(FakeEngine(), FakeDetector()), read_timeout=0.5) as port:
        answer = await answer_to(port, HEAD + IMAGE + HEAD[:30])
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") == 1


async def test_a_deadline_that_has_passed_on_arrival_writes_nothing_but_its_answer() -> None:
    head = HEAD.replace(b"\r\n\r\n", b"\r\nX-Request-Timeout: 1e-9\r\nConnection: close\r\n\r\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with rest_port(make_gateway(FakeEngine(), FakeDetector()), read_timeout=60) as port:
            assert b'"code":"deadline_exceeded"' in await answer_to(port, head + IMAGE)
        gc.collect()
    assert caught == []


async def test_slow_bodies_hold_no_slot_and_are_refused() -> None:
    gateway = make_gateway(FakeEngine(), FakeDetector(), max_in_flight=1)
    async with rest_port(gateway, read_timeout=2) as port:
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(64)]
        for _, writer in slow:
            writer.write(HEAD + IMAGE[:100])
        assert (await answer_to(port, last(HEAD) + IMAGE)).startswith(b"HTTP/1.1 200")
        for reader, writer in slow:
            answer = await asyncio.wait_for(reader.read(), 60)
            assert answer.startswith(b"HTTP/1.1 408")
            assert b'"code":"client_too_slow"' in answer
            writer.close()
    metrics = gateway.metrics.text().decode()
    assert 'landmarks_requests_total{code="client_too_slow",door="rest",protocol="rest"} 64.0' in metrics


async def test_a_body_that_was_fast_and_stops_is_refused_as_well() -> None:
    parts, memory = [b"a" * 1000] * 3, MemoryBudget()

    async def receive() -> dict[str, Any]:
        if not parts:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": parts.pop(0), "more_body": True}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(3):
            await receive()
        with pytest.raises(ServiceError) as caught:
            await receive()
        assert caught.value.kind is ErrorKind.CLIENT_TOO_SLOW
        assert memory.body_bytes == 3000 * BODY_COPIES

    async def send(message: Any) -> None:
        """Nothing is sent."""

    scope = {"type": "http", "http_version": "1.1", "headers": []}
    await timeouts.CancelOnDisconnect(application, 0.1, memory)(scope, receive, send)
    assert memory.body_bytes == 0


async def test_the_work_for_a_client_that_disconnects_is_cancelled() -> None:
    engine = FakeEngine()
    engine.gate = asyncio.Event()  # never set
    gateway = make_gateway(engine, FakeDetector(), max_in_flight=1)
    async with rest_port(gateway, read_timeout=30) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + IMAGE)
        await asyncio.wait_for(engine.arrived.wait(), 30)
        writer.close()
        engine.gate, engine.arrived = None, asyncio.Event()
        while not (answer := await answer_to(port, last(HEAD) + IMAGE)).startswith(b"HTTP/1.1 200"):
            assert answer.startswith(b"HTTP/1.1 429")  # its slot is not free yet
    metrics = gateway.metrics.text().decode()
    assert 'landmarks_requests_total{code="cancelled",door="rest",protocol="rest"} 1.0' in metrics


def last(head: bytes) -> bytes:
    return head.replace(b"Host: x", b"Host: x\r\nConnection: close")


async def test_a_client_that_watches_the_health_receives_the_end_as_well() -> None:
    readiness = make_gateway(FakeEngine(), FakeDetector()).readiness
    watch = HealthServicer(readiness).Watch(health_pb2.HealthCheckRequest(), None)
    assert (await anext(watch)).status == 1
    readiness.stop()
    assert [message.status async for message in watch] == [2]


async def test_a_client_that_watches_the_health_does_not_delay_the_end() -> None:
    statuses: list[int] = []
    first = asyncio.Event()

    async def watch(channel: Any) -> None:
        async for message in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()):
            statuses.append(message.status)
            first.set()

    async with open_apis(make_gateway(FakeEngine(), FakeDetector())) as apis:
        # a channel of its own: that of the APIs is closed with them, perhaps before the end arrives
        own = grpc.aio.insecure_channel(apis["grpc"].address)
        watching = asyncio.create_task(watch(own))
        await first.wait()
    await watching
    await own.close()
    assert statuses == [1, 2]  # serving, not serving, and the end of the call
