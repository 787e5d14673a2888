"""What both APIs answer to requests that fail, take too long, are too many at a time or come at the end."""

import asyncio
import math

import numpy as np
import pytest

from service.engines.port import EngineFailure, EngineOverloaded, EngineTimeout, EngineUnavailable
from service.errors import ErrorKind
from service.rpc.errors import STATUS as GRPC
from service.wire.problem import STATUS as HTTP
from tests.contract.apis import open_apis
from tests.contract.asking import BOX, IMAGE, PROTOCOLS, ask
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

pytestmark = pytest.mark.anyio

STATUS = {"rest": HTTP, "grpc": GRPC}


def broken(error):
    engine = FakeEngine()
    engine.error = error
    return {"engine": engine, "boxes": [BOX]}


FAILURES = {
    "not an image": (ErrorKind.NOT_AN_IMAGE, {"image": b"hello"}),
    "nothing": (ErrorKind.NOT_AN_IMAGE, {"image": b""}),
    "truncated": (ErrorKind.DAMAGED_IMAGE, {"image": IMAGE[: len(IMAGE) // 2]}),
    "truncated jpeg": (ErrorKind.DAMAGED_IMAGE, {"image": encoded(gradient_image(), ".jpg")[:-40]}),
    "too many bytes": (ErrorKind.TOO_MANY_BYTES, {"image": IMAGE + bytes(100_000)}),
    "too many pixels": (ErrorKind.TOO_MANY_PIXELS, {"image": encoded(gradient_image(501, 500), ".jpg")}),
    "floats": (ErrorKind.UNSUPPORTED_IMAGE, {"image": encoded(np.zeros((8, 8), np.float32), ".tiff")}),
    "too long": (ErrorKind.SIDE_TOO_LONG, {"image": encoded(gradient_image(8001, 2))}),
    "nan box": (ErrorKind.INVALID_BOX, {"boxes": [(math.nan, 0, 1, 1)]}),
    "infinite box": (ErrorKind.INVALID_BOX, {"boxes": [(0, 0, math.inf, 1)]}),
    "box beyond float32": (ErrorKind.INVALID_BOX, {"boxes": [(0, 0, 3e38, 1)]}),
    "inverted box": (ErrorKind.INVALID_BOX, {"boxes": [(9, 0, 1, 1)]}),
    "box outside": (ErrorKind.INVALID_BOX, {"boxes": [(900, 900, 999, 999)]}),
    "too many boxes": (ErrorKind.TOO_MANY_BOXES, {"boxes": [BOX] * 5}),
    "topk of nothing": (ErrorKind.INVALID_REQUEST, {"topk": 0}),
    "topk beyond the map": (ErrorKind.INVALID_REQUEST, {"topk": 4097}),
    "max_faces of nothing": (ErrorKind.INVALID_REQUEST, {"max_faces": 0}),
    "threshold of a percentage": (ErrorKind.INVALID_REQUEST, {"detector_threshold": 60}),
    "threshold that is no number": (ErrorKind.INVALID_REQUEST, {"detector_threshold": math.nan}),
    "unknown model": (ErrorKind.UNKNOWN_MODEL, {"model": "hrnet"}),
    "unknown decoder": (ErrorKind.INVALID_REQUEST, {"decoder": "softmax"}),
    "argmax of several cells": (ErrorKind.INVALID_REQUEST, {"decoder": "argmax", "topk": 4}),
    "topk for a decoder without": (ErrorKind.INVALID_REQUEST, {"decoder": "3x3", "topk": 9}),
    "unknown field to omit": (ErrorKind.INVALID_REQUEST, {"omit": ["points", "box"]}),
    "unknown option": (ErrorKind.INVALID_REQUEST, {"colour": 1}),
    "engine away": (ErrorKind.UNAVAILABLE, broken(EngineUnavailable("secret"))),
    "engine late": (ErrorKind.DEADLINE_EXCEEDED, broken(EngineTimeout("secret"))),
    "engine full": (ErrorKind.OVERLOADED, broken(EngineOverloaded("secret"))),
    "engine broken": (ErrorKind.INTERNAL, broken(EngineFailure("secret"))),
    "a bug": (ErrorKind.INTERNAL, broken(ZeroDivisionError("secret"))),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("case", FAILURES)
async def test_every_failure_has_its_code_status_and_count(protocol, case):
    kind, request = FAILURES[case]
    reply, metrics = await ask(protocol, request_id="mine-1", **request)
    assert reply.code == kind.value
    assert reply.status == STATUS[protocol][kind]
    assert reply.request_id == "mine-1"
    assert reply.message
    assert "secret" not in reply.message
    assert reply.retry_seconds == (1.0 if kind in (ErrorKind.OVERLOADED, ErrorKind.UNAVAILABLE) else None)
    assert f'landmarks_requests_total{{code="{kind.value}",door="{protocol}",protocol="{protocol}"}} 1.0' in metrics
    assert "landmarks_in_flight 0.0" in metrics


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_full_service_refuses_at_once_and_serves_again(protocol):
    engine = FakeEngine()
    engine.gate = asyncio.Event()
    async with open_apis(make_gateway(engine, FakeDetector(), max_in_flight=1)) as apis:
        first = asyncio.ensure_future(apis[protocol].ask(IMAGE, boxes=[BOX]))
        await engine.arrived.wait()
        second = await apis[protocol].ask(IMAGE, boxes=[BOX])
        engine.gate.set()
        assert (await first).code == "ok"
        third = await apis[protocol].ask(IMAGE, boxes=[BOX])
    assert (second.code, third.code) == ("overloaded", "ok")
    assert second.retry_seconds == 1.0


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_clients_deadline_reaches_the_engine(protocol):
    engine = FakeEngine()
    assert (await ask(protocol, engine=engine, boxes=[BOX], timeout=7.0))[0].code == "ok"
    assert 0 < (engine.calls[0][2] or 0) < 7.0
    # without one the service's own holds
    engine = FakeEngine()
    assert (await ask(protocol, engine=engine, boxes=[BOX], limits={"request_timeout": 5.0}))[0].code == "ok"
    assert 0 < (engine.calls[0][2] or 0) < 5.0


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_engine_that_hangs_is_given_up(protocol):
    engine = FakeEngine()
    engine.gate = asyncio.Event()  # never set
    reply, metrics = await ask(protocol, engine=engine, boxes=[BOX], limits={"request_timeout": 0.5})
    assert reply.code == "deadline_exceeded"
    assert "landmarks_in_flight 0.0" in metrics


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_request_in_flight_is_finished_when_the_service_stops(protocol):
    engine = FakeEngine()
    engine.gate = asyncio.Event()
    gateway = make_gateway(engine, FakeDetector())
    async with open_apis(gateway) as apis:
        request = asyncio.ensure_future(apis[protocol].ask(IMAGE, boxes=[BOX]))
        await engine.arrived.wait()
        asyncio.get_running_loop().call_soon(engine.gate.set)
    assert not await gateway.readiness.check()
    assert (await request).code == "ok"
