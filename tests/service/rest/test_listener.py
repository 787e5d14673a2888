"""Limits of connections, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from service.rest.listener import ConnectionLimits, peer_of
from service.server import RestServer, bound_socket
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

pytestmark = pytest.mark.anyio

IMAGE = encoded(gradient_image())
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
UPLOAD = b"POST /v1/landmarks?box=20,30,200,210 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(IMAGE)

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Service:
    def __init__(self, port: int) -> None:
        self.port = port
        self.engine = FakeEngine()
        self.writers: list[asyncio.StreamWriter] = []
        self.gateway = make_gateway(self.engine, FakeDetector(), max_in_flight=100)

    async def client(self, sends: bytes = b"", host: str = "127.0.0.1") -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(host, 0))
        self.writers.append(writer)
        writer.write(sends)
        return reader, writer

    def closed(self, reason: str) -> float:
        return (
            self.gateway.metrics.registry.get_sample_value("landmarks_connections_closed_total", {"reason": reason})
            or 0.0
        )


@asynccontextmanager
async def running(limits: ConnectionLimits) -> AsyncIterator[Service]:
    with bound_socket("127.0.0.1", 0) as sock:
        service = Service(sock.getsockname()[1])
        server = RestServer(service.gateway, grace=1, limits=limits)
        task = asyncio.create_task(server.serve(sockets=[sock]))
        await server.listening.wait()
        try:
            yield service
        finally:
            for writer in service.writers:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()
            server.should_exit = True
            await task


async def status(client: Client) -> bytes:
    """Of the answer to a request that was sent; empty when the connection was closed instead."""
    reader, _ = client
    try:
        line = await reader.readline()
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return line.split()[1]


async def test_the_connection_that_was_idle_longest_gives_way() -> None:
    async with running(ConnectionLimits(total=3, per_peer=3)) as service:
        clients = [await service.client(HEALTH) for _ in range(3)]
        assert [await status(client) for client in clients] == [b"200"] * 3
        clients[0][1].write(HEALTH)
        assert await status(clients[0]) == b"200"  # now the second has been idle longest
        assert await status(await service.client(HEALTH)) == b"200"
        assert await status(clients[1]) == b""
        for client in (clients[0], clients[2]):
            client[1].write(HEALTH)
            assert await status(client) == b"200"
        assert service.closed("idle") == 1


async def test_connections_with_a_request_stay_and_new_ones_are_refused() -> None:
    async with running(ConnectionLimits(total=2, per_peer=2)) as service:
        service.engine.gate = asyncio.Event()
        clients = [await service.client(UPLOAD + IMAGE) for _ in range(2)]
        while service.gateway.metrics.registry.get_sample_value("landmarks_in_flight") != 2:
            await asyncio.sleep(0)
        assert await status(await service.client(HEALTH)) == b""
        assert service.closed("refused") == 1
        service.engine.gate.set()
        assert [await status(client) for client in clients] == [b"200"] * 2
        assert await status(await service.client(HEALTH)) == b"200"


async def test_a_peer_with_many_connections_closes_its_own_only() -> None:
    async with running(ConnectionLimits(total=4, per_peer=2)) as service:
        other = await service.client(HEALTH, "127.0.0.2")
        assert await status(other) == b"200"
        greedy = [await service.client(HEALTH) for _ in range(20)]
        answers = [await status(client) for client in greedy]
        assert answers[-1] == b"200"
        other[1].write(HEALTH)
        assert await status(other) == b"200"


async def test_a_closed_connection_counts_no_more() -> None:
    async with running(ConnectionLimits(total=1, per_peer=1)) as service:
        for _ in range(5):
            client = await service.client(HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert await status(client) == b"200"
            assert await client[0].read() == b""
            client[1].close()
        assert service.closed("refused") == 0


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_peer_is_what_one_client_has(address: str, peer: str) -> None:
    assert peer_of(address) == peer
