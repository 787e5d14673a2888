"""One call over one protocol to a gateway over fakes, and the gateway's metrics afterwards."""

from tests.contract.apis import open_apis
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

IMAGE = encoded(gradient_image())
BOX = (20.1, 30.7, 200.3, 210.9)
PROTOCOLS = ["rest", "grpc"]


async def ask(protocol, image=IMAGE, *, engine=None, detector=None, limits=None, **options):
    """The reply to one request, and the metrics."""
    gateway = make_gateway(engine or FakeEngine(), detector or FakeDetector(), **(limits or {}))
    async with open_apis(gateway) as apis:
        return await apis[protocol].ask(image, **options), gateway.metrics.text().decode()


async def ask_batch(protocol, images, options=None, engine=None, detector=None, **limits):
    """The reply to one call of several images, its body as the same dictionary over REST and gRPC; and the metrics."""
    gateway = make_gateway(engine or FakeEngine(), detector or FakeDetector(), **limits)
    async with open_apis(gateway) as apis:
        reply = await apis[protocol].ask_batch(images, options or [{}] * len(images), request_id="mine")
        return reply, gateway.metrics.text().decode()
