"""Clients that are slow, silent or gone, over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.gateway import Gateway
from service.rpc.server import HealthServicer
from service.server import RestServer
from tests.contract.apis import open_apis
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

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


async def said(port: int, *pieces: bytes) -> bytes:
    """All that the protocol answers to these bytes until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return answer


def test_a_connection_without_a_whole_head_is_closed() -> None:
    async def run() -> set[bytes]:
        async with rest_port(make_gateway(FakeEngine(), FakeDetector()), read_timeout=0.2) as port:
            return set(await asyncio.gather(said(port), said(port, HEAD[:30]), said(port, b"\r\n\r\n")))

    assert asyncio.run(run()) == {b""}


def test_a_second_request_has_its_limit_too() -> None:
    async def run() -> bytes:
        async with rest_port(make_gateway(FakeEngine(), FakeDetector()), read_timeout=0.5) as port:
            return await said(port, HEAD + IMAGE + HEAD[:30])

    answer = asyncio.run(run())
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") == 1


def test_a_body_that_stops_coming_gives_its_place_back() -> None:
    async def run() -> list[bytes]:
        gateway = make_gateway(FakeEngine(), FakeDetector(), max_in_flight=1)
        async with rest_port(gateway, read_timeout=0.5) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD + IMAGE[:100])
            slow = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            whole = await said(port, last(HEAD) + IMAGE)
            return [slow, whole]

    slow, whole = asyncio.run(run())
    assert slow.startswith(b"HTTP/1.1 504")
    assert whole.startswith(b"HTTP/1.1 200")


def test_the_work_for_a_client_that_leaves_ends() -> None:
    async def run() -> str:
        engine = FakeEngine()
        engine.gate = asyncio.Event()  # never opened
        gateway = make_gateway(engine, FakeDetector(), max_in_flight=1)
        async with rest_port(gateway, read_timeout=30) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD + IMAGE)
            await asyncio.wait_for(engine.arrived.wait(), 30)
            writer.close()
            engine.gate, engine.arrived = None, asyncio.Event()
            while not (answer := await said(port, last(HEAD) + IMAGE)).startswith(b"HTTP/1.1 200"):
                assert answer.startswith(b"HTTP/1.1 429")  # its place is not free yet
        return gateway.metrics.text().decode()

    assert 'landmarks_requests_total{code="cancelled",door="rest",protocol="rest"} 1.0' in asyncio.run(run())


def last(head: bytes) -> bytes:
    return head.replace(b"Host: x", b"Host: x\r\nConnection: close")


def test_who_is_being_told_the_health_when_it_ends_is_told_that_too() -> None:
    async def run() -> list[int]:
        readiness = make_gateway(FakeEngine(), FakeDetector()).readiness
        watch = HealthServicer(readiness).Watch(health_pb2.HealthCheckRequest(), None)
        first = await anext(watch)
        readiness.stop()
        return [first.status, *[message.status async for message in watch]]

    assert asyncio.run(run()) == [1, 2]


def test_who_watches_the_health_does_not_hold_up_the_end() -> None:
    async def run() -> list[int]:
        seen: list[int] = []
        first = asyncio.Event()

        async def watch(channel: Any) -> None:
            async for message in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()):
                seen.append(message.status)
                first.set()

        async with open_apis(make_gateway(FakeEngine(), FakeDetector())) as apis:
            # a channel of its own: that of the APIs is closed with them, perhaps before the end arrives
            own = grpc.aio.insecure_channel(apis["grpc"].address)
            watching = asyncio.create_task(watch(own))
            await first.wait()
        await watching
        await own.close()
        return seen

    assert asyncio.run(run()) == [1, 2]  # serving, then not, then the end
