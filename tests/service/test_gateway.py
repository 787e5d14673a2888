"""The gateway: admission, batches, and what becomes of errors."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from service.answer import Answer, ImageSize
from service.deadline import Deadline
from service.engines.port import EngineOverloaded
from service.errors import ErrorKind, ServiceError
from service.gateway import MAX_CONCURRENT_IMAGES, Gateway
from service.memory import BODY_COPIES, MemoryBudget
from service.request import ImageRequest, Options
from service.request_ids import image_ids, request_id_or_new
from tests.fakes import MODEL, FakeDetector, FakeEngine, make_gateway

pytestmark = pytest.mark.anyio


class FakePipeline:
    """Answers when its gate is open, and counts the images that it works on."""

    def __init__(self) -> None:
        self.models = (MODEL,)
        self.gate = asyncio.Event()
        self.is_full = asyncio.Event()
        self.active = self.most_active = 0

    async def detect(self, data: bytes, options: Options, deadline: Deadline, look: object = None) -> Answer:
        self.active += 1
        self.most_active = max(self.active, self.most_active)
        if self.active == MAX_CONCURRENT_IMAGES:
            self.is_full.set()
        await self.gate.wait()
        self.active -= 1
        return Answer(MODEL, ImageSize(1, 1), (), {})


def gateway_over(pipeline: FakePipeline, **limits: Any) -> Gateway:
    gateway = make_gateway(FakeEngine(), FakeDetector(), **limits)
    gateway.pipeline = pipeline  # type: ignore[assignment]
    return gateway


async def test_four_images_of_a_batch_are_worked_on_at_a_time() -> None:
    assert MAX_CONCURRENT_IMAGES == 4
    pipeline = FakePipeline()
    gateway = gateway_over(pipeline, max_images=9)
    batch = asyncio.create_task(gateway.detect_batch([ImageRequest(b"", Options())] * 9, "id", gateway.deadline(None)))
    await pipeline.is_full.wait()
    assert pipeline.active == 4
    pipeline.gate.set()
    assert len(await batch) == 9
    assert (pipeline.active, pipeline.most_active) == (0, 4)


async def test_a_request_over_the_limit_is_refused_at_once_and_admitted_once_another_is_answered() -> None:
    gateway = make_gateway(FakeEngine(), FakeDetector(), max_in_flight=1)
    with gateway.admitted("rest", "first", {}):
        with (
            pytest.raises(ServiceError, match="1 requests are in flight") as caught,
            gateway.admitted("grpc", "two", {}),
        ):
            pytest.fail("the second request was admitted")
        assert caught.value.kind is ErrorKind.OVERLOADED
    with gateway.admitted("rest", "third", {}):
        assert "landmarks_in_flight 1.0" in gateway.metrics.text().decode()
    assert "landmarks_in_flight 0.0" in gateway.metrics.text().decode()


async def test_an_error_inside_a_request_is_raised_as_a_service_error(caplog: pytest.LogCaptureFixture) -> None:
    gateway = make_gateway(FakeEngine(), FakeDetector())

    def ask(error: Exception) -> ServiceError:
        with pytest.raises(ServiceError) as caught, gateway.admitted("rest", "mine", {}):
            raise error
        return caught.value

    refused = ServiceError(ErrorKind.INVALID_BOX, "box 0 is inverted")
    assert ask(refused) is refused
    assert ask(EngineOverloaded("full")).kind is ErrorKind.OVERLOADED
    assert [record for record in caplog.records if record.levelno == logging.ERROR] == []
    assert ask(KeyError("secret")).kind is ErrorKind.INTERNAL
    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert record.getMessage() == "request mine failed"
    assert isinstance((record.exc_info or (None, None))[1], KeyError)


@pytest.mark.parametrize(
    ("timeout", "seconds"), [(None, 30.0), (7.0, 7.0), (90.0, 30.0)], ids=["none", "the client's", "the service's"]
)
async def test_the_shorter_timeout_applies(timeout: float | None, seconds: float) -> None:
    gateway = make_gateway(FakeEngine(), FakeDetector(), request_timeout=30.0)
    assert gateway.deadline(timeout).remaining() == pytest.approx(seconds, abs=1)


@pytest.mark.parametrize("given", ["a", "Req-1", "A._:/+=@-9", "x" * 128])
def test_a_clients_request_id_is_kept(given: str) -> None:
    assert request_id_or_new(given) == given


@pytest.mark.parametrize("given", [None, "", "a b", "ä", "a\n", "x" * 129])
def test_an_unusable_request_id_is_replaced(given: str | None) -> None:
    first, second = request_id_or_new(given), request_id_or_new(given)
    assert len(first) == 32
    assert first not in (given, second)


def test_the_images_of_a_batch_are_numbered_from_0() -> None:
    assert image_ids("mine", 3) == ["mine/0", "mine/1", "mine/2"]


def test_a_body_that_could_never_be_held_is_too_large() -> None:
    memory = MemoryBudget(9 * BODY_COPIES * 100, peer_share=1 / 3)
    gateway = make_gateway(FakeEngine(), FakeDetector(), max_bytes=90, max_batch_bytes=150, memory=memory)
    assert (gateway.max_bytes, gateway.max_batch_bytes) == (90, 100)
