"""What gRPC receives, and from whom, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from landmarks_client.pb import landmarks_pb2 as pb
from landmarks_client.pb import landmarks_pb2_grpc
from service.landmarker import to_image_coordinates
from service.memory import MemoryBudget
from service.rest.listener import ConnectionLimits
from service.rpc import connections, interceptors, receiving
from service.rpc.connections import Peer, bytes_received, close_surplus, peer_of_call
from service.rpc.convert import answer_message
from service.rpc.server import build_server
from tests.contract.apis import open_apis
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

pytestmark = pytest.mark.anyio

IMAGE = encoded(gradient_image())
LARGEST = 200_000 + 2**20
"""Bytes of the largest message, with the limits of the fakes."""
DATA, HEADERS, SETTINGS, GO_AWAY = 0, 1, 4, 7
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def field(name: str, value: str) -> bytes:
    """A header field without a table and without Huffman's code (RFC 7541, 6.2.2)."""
    return b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))


class RawClient:
    """A client that sends frames of its own making."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, address: str, settings: bytes = b"", source: str = "127.0.0.1") -> RawClient:
        host, port = address.split(":")
        client = cls(*await asyncio.open_connection(host, int(port), local_addr=(source, 0)))
        client.writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, settings))
        return client

    def begin(self, method: str, announced: int, stream: int = 1, more_fields: bytes = b"") -> None:
        """Begins a message of so many bytes, and sends the first of them. `more_fields`: of its header, encoded."""
        path = f"/{method}"
        fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x", "te": "trailers"}
        fields["content-type"] = "application/grpc"
        head = b"".join(field(*pair) for pair in fields.items())
        self.writer.write(frame(HEADERS, END_HEADERS, stream, head + more_fields))
        self.writer.write(frame(DATA, 0, stream, b"\0" + announced.to_bytes(4, "big") + b"\x0a"))

    async def answer(self) -> bytes:
        """The payload of the headers that end the call; empty when the connection ends first."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await self.reader.readexactly(9)
                payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
                if head[3] == HEADERS and head[4] & END_STREAM:
                    return payload
        return b""


MANY_FIELDS = b"\x90" * 3000
"""As many fields `accept-encoding`, of a byte each (RFC 7541, 6.1)."""


@asynccontextmanager
async def served(**limits: Any) -> AsyncIterator[tuple[Any, str, MemoryBudget]]:
    gateway = make_gateway(limits.pop("engine", FakeEngine()), FakeDetector(), **limits)
    async with open_apis(gateway) as apis:
        yield apis["grpc"], apis["grpc"].address, gateway.memory


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.01)


async def test_64_dripping_clients_leave_an_honest_one_its_answer() -> None:
    """There is memory for two of the largest messages."""
    async with served(memory=MemoryBudget(3 * 2 * LARGEST + 9)) as (api, address, memory):
        drips = [await RawClient.connect(address) for _ in range(64)]
        for drip in drips:
            drip.begin("landmarks.v1.Landmarks/Detect", 90_000)
        assert [(await api.ask(IMAGE)).code for _ in range(3)] == ["ok"] * 3
        assert memory.body_bytes <= memory.bodies
        health = health_pb2_grpc.HealthStub(api.channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
        for drip in drips:
            drip.writer.close()
        await until(lambda: memory.body_bytes == 0)


async def test_health_is_answered_while_its_own_messages_drip() -> None:
    async with served() as (api, address, _):
        drips = [await RawClient.connect(address) for _ in range(8)]
        for drip in drips:
            drip.begin("grpc.health.v1.Health/Check", 1_000_000)
            drip.begin("grpc.health.v1.Health/Watch", 1_000_000, stream=3)
        health = health_pb2_grpc.HealthStub(api.channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
        for drip in drips:
            drip.writer.close()


@pytest.mark.parametrize("method", ["landmarks.v1.Landmarks/Detect", "grpc.health.v1.Health/Check"])
async def test_a_message_that_stops_arriving_is_refused(method: str) -> None:
    gateway = make_gateway(FakeEngine(), FakeDetector())
    server, port = build_server(gateway, "127.0.0.1:0", read_timeout=0.3)
    await server.start()
    client = await RawClient.connect(f"127.0.0.1:{port}")
    client.begin(method, 90_000)
    assert b"client_too_slow" in await client.answer()
    client.writer.close()
    await server.stop(None)
    assert gateway.memory.body_bytes == 0


async def test_a_message_that_finds_the_memory_taken_is_refused() -> None:
    async with served(memory=MemoryBudget(3 * LARGEST + 9), request_timeout=2.0) as (api, _, memory):
        others = memory.body("192.0.2.1")
        others.add(LARGEST)
        reply = await api.ask(IMAGE)
        assert (reply.code, reply.status, reply.retry_seconds) == (
            "overloaded",
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            1.0,
        )
        others.release()
        assert (await api.ask(IMAGE)).code == "ok"


async def test_no_message_is_received_while_as_many_requests_are_in_flight_as_may_be() -> None:
    engine = FakeEngine()
    engine.gate = asyncio.Event()
    async with served(engine=engine, max_in_flight=1) as (api, address, _):
        first = asyncio.create_task(api.ask(IMAGE, boxes=[(20, 30, 200, 210)]))
        await engine.arrived.wait()
        client = await RawClient.connect(address)
        client.begin("landmarks.v1.Landmarks/Detect", 90_000)  # its end does not arrive
        assert b"overloaded" in await client.answer()
        client.writer.close()
        engine.gate.set()
        assert (await first).code == "ok"


async def test_a_call_without_a_message_is_refused() -> None:
    async with served() as (api, _, _):
        call = api.channel.stream_unary("/landmarks.v1.Landmarks/Detect")(iter(()))
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_large_messages_are_parsed_and_large_answers_written_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[tuple[str, bool]] = []

    def recorded(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*values: Any) -> Any:
            threads.append((name, threading.current_thread() is threading.main_thread()))
            return work(*values)

        return run

    monkeypatch.setattr(interceptors, "_parsed", recorded("parse", interceptors._parsed))
    monkeypatch.setattr("service.rpc.server.answer_message", recorded("answer", answer_message))
    monkeypatch.setattr("service.landmarker.to_image_coordinates", recorded("face", to_image_coordinates))
    box = (20.0, 30.0, 200.0, 210.0)
    async with served(max_bytes=2**20, max_faces=100) as (api, _, _):
        assert (await api.ask(IMAGE, boxes=[box])).code == "ok"
        assert set(threads) == {("parse", True), ("answer", True), ("face", True)}
        threads.clear()
        assert (await api.ask(bytes(2**19))).code == "not_an_image"
        assert (await api.ask(IMAGE, boxes=[box] * 33)).code == "ok"
        assert set(threads) == {("parse", False), ("parse", True), ("answer", False), ("face", False)}


async def test_many_fields_of_metadata_are_refused() -> None:
    async with served() as (api, _, _):
        call = api.stub.Detect(pb.DetectRequest(image=IMAGE), metadata=[("a", "b")] * 150)
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(await call.trailing_metadata())["landmarks-error-code"] == "headers_too_large"


async def test_a_client_that_sends_thousands_before_it_acknowledges_the_limit_is_disconnected() -> None:
    gateway = make_gateway(FakeEngine(), FakeDetector())
    async with open_apis(gateway) as apis:
        client = await RawClient.connect(apis["grpc"].address)
        for stream in (1, 3, 5):
            client.begin("landmarks.v1.Landmarks/Detect", 90_000, stream, MANY_FIELDS)
        assert await asyncio.wait_for(client.answer(), 60) == b""
        client.writer.close()
        assert (await apis["grpc"].ask(IMAGE)).code == "ok"
    assert (
        'landmarks_requests_total{code="headers_too_large",door="grpc",protocol="grpc"}'
        in gateway.metrics.text().decode()
    )


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_a_compressed_message_is_refused(compression: grpc.Compression) -> None:
    async with served() as (api, _, _):
        stub = landmarks_pb2_grpc.LandmarksStub(api.channel)
        call = stub.Detect(pb.DetectRequest(image=bytes(90_000)), compression=compression)
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_peer_has_its_share_of_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.rpc.server.MAX_CALLS", 8)
    async with served(memory=MemoryBudget(2**30, peer_share=0.5)) as (api, address, _):
        watches = [health_pb2_grpc.HealthStub(api.channel).Watch(health_pb2.HealthCheckRequest()) for _ in range(4)]
        assert [(await watch.read()).status for watch in watches] == [1] * 4
        refused = await api.ask(IMAGE)
        assert (refused.code, "4 calls of this address" in refused.message) == ("overloaded", True)
        other = await RawClient.connect(address, source="127.0.0.2")
        other.begin("grpc.health.v1.Health/Check", 1)
        other.writer.write(frame(DATA, END_STREAM, 1))
        assert b"invalid_request" in await other.answer()  # it was received
        other.writer.close()
        watches[0].cancel()
        while (await api.ask(IMAGE)).code != "ok":
            await asyncio.sleep(0.01)
        for watch in watches:
            watch.cancel()


async def test_a_client_that_does_not_take_its_answer_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interceptors, "SEND_SECONDS", 0.2)
    async with served() as (_, address, _):
        client = await RawClient.connect(address, settings=struct.pack(">HI", 4, 0))  # no window
        client.begin("landmarks.v1.Landmarks/ListModels", 0)
        client.writer.write(frame(DATA, END_STREAM, 1))
        assert await asyncio.wait_for(client.answer(), 60) == b""
        client.writer.close()


# ---------------------------------------------------------------- connections


def test_peers_are_as_grpc_writes_them() -> None:
    assert peer_of_call("ipv4:10.0.0.7:1234") == Peer("10.0.0.7", 1234)
    assert peer_of_call("ipv6:%5B2001:db8::1%5D:1234") == Peer("2001:db8::1", 1234)
    assert peer_of_call("unix:/tmp/socket") is None


def test_the_kernel_counts_what_arrives_and_surplus_connections_are_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        clients = [
            socket.create_connection(address, 30, (source, 0)) for source in ["127.0.0.1"] * 5 + ["127.0.0.2"] * 2
        ]
        accepted = [listener.accept()[0] for _ in clients]
        for number, client in enumerate(clients):
            client.sendall(bytes(1000 + number))
        for number, sock in enumerate(accepted):
            assert sock.recv(1)
            peer = Peer(*sock.getpeername())
            while bytes_received()[peer] < 1000 + number:
                pass
        limits = ConnectionLimits(total=100, per_peer=3)
        assert close_surplus(address[1], limits) == 2
        assert close_surplus(address[1] + 1, limits) == 0
        ended = [ends(client) for client in clients]
        assert (ended[:5].count(True), ended[5:]) == (2, [False, False])
        for sock in (*clients, *accepted):
            sock.close()


def test_a_tenth_of_the_connections_stays_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        clients = [socket.create_connection(address, 30) for _ in range(10)]
        accepted = [listener.accept()[0] for _ in clients]
        assert close_surplus(address[1], ConnectionLimits(total=10, per_peer=10)) == 1
        assert [ends(client) for client in clients].count(True) == 1
        monkeypatch.setattr(connections, "_DESCRIPTORS", Path("/nowhere"))
        assert close_surplus(address[1], ConnectionLimits(total=1, per_peer=1)) == 0  # a system without the list
        for sock in (*clients, *accepted):
            sock.close()


def ends(client: socket.socket) -> bool:
    """Whether the other side has ended the connection."""
    client.settimeout(0)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_what_is_slow_is_told_from_what_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    class Context:
        def peer(self) -> str:
            return "ipv4:10.0.0.7:1"

    def refused(*arrived: int, others_wait: bool = False, step: float = 1.0) -> bool:
        """Whether a message is refused of which so many bytes have arrived at each step of a second."""

        async def check() -> bool:
            each = receiving._Receiving(Context(), MemoryBudget())
            for size in arrived:
                each.check_rate(size, 5.0, others_wait=others_wait)
                now[0] += step
            return each.refusal.done()

        return asyncio.run(check())

    assert not refused(*range(0, 40_000, 2000))
    assert refused(*range(0, 40_000, 2000), others_wait=True)
    assert not refused(*range(0, 2_000_000, 100_000), others_wait=True)
    assert refused(*[7] * 7)
    assert not refused(*[7] * 5)
