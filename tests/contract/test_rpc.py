"""What gRPC alone does."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from tests.contract.apis import open_apis
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

pytestmark = pytest.mark.anyio

SERVICE = "landmarks.v1.Landmarks"


@asynccontextmanager
async def grpc_api(engine=None):
    async with open_apis(make_gateway(engine or FakeEngine(), FakeDetector())) as apis:
        yield apis["grpc"]


async def test_health_follows_the_engine():
    engine = FakeEngine()
    async with grpc_api(engine) as api:
        stub = health_pb2_grpc.HealthStub(api.channel)
        statuses = []
        for ready in (True, False):
            engine.is_ready = ready
            for name in ("", SERVICE):
                statuses.append((await stub.Check(health_pb2.HealthCheckRequest(service=name))).status)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        first = await watch.read()
        engine.is_ready = True
        second = await watch.read()
        watch.cancel()
        unknown = stub.Check(health_pb2.HealthCheckRequest(service="other"))
        assert statuses == [1, 1, 2, 2]  # SERVING, NOT_SERVING
        assert (first.status, second.status) == (2, 1)
        assert await unknown.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("version", ["v1alpha", "v1"])
async def test_reflection_lists_and_describes_the_services(version):
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]
    async with grpc_api() as api:
        call = api.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(iter(requests))
        listed, described = [answer async for answer in call]
    services = {service.name for service in listed.list_services_response.service}
    assert services >= {SERVICE, "grpc.health.v1.Health"}
    assert b"DetectBatch" in described.file_descriptor_response.file_descriptor_proto[0]


async def test_a_message_far_over_the_limit_is_refused_unread_and_the_service_goes_on():
    async with grpc_api() as api:
        assert (await api.ask(bytes(3_000_000))).status is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await api.ask(encoded(gradient_image()))).code == "ok"


async def test_keepalive_pings_of_an_idle_client_are_answered(monkeypatch):
    monkeypatch.setattr("service.rpc.server.MIN_PING_INTERVAL_MS", 0)
    settings, ping, go_away = 4, 6, 7
    async with grpc_api() as api:
        reader, writer = await asyncio.open_connection(*api.address.split(":"))
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(settings))
        for number in range(10):  # two are borne from every client
            writer.write(frame(ping, number.to_bytes(8, "big")))
            while (kind := await next_frame(reader)) != ping:
                assert kind != go_away
        writer.close()


def frame(kind: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1) on stream 0, without flags."""
    return len(payload).to_bytes(3, "big") + bytes([kind, 0, 0, 0, 0, 0]) + payload


async def next_frame(reader: asyncio.StreamReader) -> int:
    """Reads a frame and returns its type."""
    head = await asyncio.wait_for(reader.readexactly(9), 30)
    await reader.readexactly(int.from_bytes(head[:3], "big"))
    return head[3]


@pytest.mark.parametrize(("size", "code"), [(14_000, "OK"), (17_000, "RESOURCE_EXHAUSTED")])
async def test_metadata_has_a_limit_and_all_below_it_is_read(size, code):
    """gRPC's own limits are 8 and 16 KiB, between which it refuses some calls at random."""
    async with grpc_api() as api:
        stub = health_pb2_grpc.HealthStub(api.channel)
        calls = [stub.Check(health_pb2.HealthCheckRequest(), metadata=(("a", "b" * size),)) for _ in range(20)]
        assert {(await call.code()).name for call in calls} == {code}
