"""What the gRPC door alone does."""

import asyncio

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.contract.apis import open_doors
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

SERVICE = "landmarks.v1.Landmarks"


def with_channel(work, engine=None):
    async def run():
        async with open_doors(make_gateway(engine or FakeEngine(), FakeDetector())) as doors:
            return await work(doors["grpc"])

    return asyncio.run(run())


def test_health_follows_the_engine():
    engine = FakeEngine()

    async def work(door):
        stub = health_pb2_grpc.HealthStub(door.channel)
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
        return statuses, first.status, second.status, await unknown.code()

    statuses, first, second, unknown = with_channel(work, engine)
    assert statuses == [1, 1, 2, 2]  # SERVING, NOT_SERVING
    assert (first, second) == (2, 1)
    assert unknown is grpc.StatusCode.NOT_FOUND


def test_reflection_lists_the_services():
    async def work(door):
        stub = reflection_pb2_grpc.ServerReflectionStub(door.channel)
        call = stub.ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        answer = await call.read()
        call.cancel()
        return {service.name for service in answer.list_services_response.service}

    assert with_channel(work) >= {SERVICE, "grpc.health.v1.Health"}


def test_a_message_far_over_the_limit_is_refused_unread_and_the_service_goes_on():
    async def work(door):
        return await door.ask(bytes(3_000_000)), await door.ask(encoded(gradient_image()))

    refused, served = with_channel(work)
    assert refused.status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert served.code == "ok"
