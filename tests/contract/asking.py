"""One call to one door of a gateway over fakes."""

import asyncio

from tests.contract.apis import open_doors
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

IMAGE = encoded(gradient_image())
BOX = (20.1, 30.7, 200.3, 210.9)
DOORS = ["rest", "grpc"]


def ask(door, image=IMAGE, *, engine=None, detector=None, limits=None, **options):
    """One request to one door, and the gateway's metrics afterwards."""

    async def run():
        gateway = make_gateway(engine or FakeEngine(), detector or FakeDetector(), **(limits or {}))
        async with open_doors(gateway) as doors:
            return await doors[door].ask(image, **options), gateway.metrics.text().decode()

    return asyncio.run(run())


def ask_batch(door, images, options=None, engine=None, detector=None, **limits):
    """(code, body) of one call of several images; REST's body and gRPC's message as the same dictionary."""

    async def run():
        gateway = make_gateway(engine or FakeEngine(), detector or FakeDetector(), **limits)
        async with open_doors(gateway) as doors:
            reply = await doors[door].ask_batch(images, options or [{}] * len(images), request_id="mine")
            return reply, gateway.metrics.text().decode()

    return asyncio.run(run())
