"""Every behaviour that both doors share, asked of each over real sockets."""

import asyncio
import math
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict

from service.errors import ErrorKind
from service.inference import EngineFailure, EngineOverloaded, EngineTimeout, EngineUnavailable
from service.rest.errors import STATUS as HTTP
from service.rest.schema import AnswerModel
from service.rpc.errors import STATUS as GRPC
from tests.contract.doors import open_doors
from tests.fakes import FakeDetector, FakeEngine, encoded, make_gateway, picture

IMAGE = encoded(picture())
BOX = (20.1, 30.7, 200.3, 210.9)
DOORS = ["rest", "grpc"]
STATUS = {"rest": HTTP, "grpc": GRPC}


def ask(door, image=IMAGE, *, engine=None, detector=None, limits=None, **options):
    """One request to one door, and the gateway's metrics afterwards."""

    async def run():
        gateway = make_gateway(engine or FakeEngine(), detector or FakeDetector(), **(limits or {}))
        async with open_doors(gateway) as doors:
            return await doors[door].ask(image, **options), gateway.metrics.text().decode()

    return asyncio.run(run())


def broken(error):
    engine = FakeEngine()
    engine.error = error
    return {"engine": engine, "boxes": [BOX]}


FAILURES = {
    "not an image": (ErrorKind.NOT_AN_IMAGE, {"image": b"hello"}),
    "nothing": (ErrorKind.NOT_AN_IMAGE, {"image": b""}),
    "truncated": (ErrorKind.DAMAGED_IMAGE, {"image": IMAGE[: len(IMAGE) // 2]}),
    "truncated jpeg": (ErrorKind.DAMAGED_IMAGE, {"image": encoded(picture(), ".jpg")[:-40]}),
    "too many bytes": (ErrorKind.TOO_MANY_BYTES, {"image": IMAGE + bytes(100_000)}),
    "too many pixels": (ErrorKind.TOO_MANY_PIXELS, {"image": encoded(picture(501, 500), ".jpg")}),
    "nan box": (ErrorKind.INVALID_BOX, {"boxes": [(math.nan, 0, 1, 1)]}),
    "infinite box": (ErrorKind.INVALID_BOX, {"boxes": [(0, 0, math.inf, 1)]}),
    "box beyond float32": (ErrorKind.INVALID_BOX, {"boxes": [(0, 0, 3e38, 1)]}),
    "inverted box": (ErrorKind.INVALID_BOX, {"boxes": [(9, 0, 1, 1)]}),
    "box outside": (ErrorKind.INVALID_BOX, {"boxes": [(900, 900, 999, 999)]}),
    "too many boxes": (ErrorKind.TOO_MANY_BOXES, {"boxes": [BOX] * 5}),
    "topk of nothing": (ErrorKind.INVALID_REQUEST, {"topk": 0}),
    "topk beyond the map": (ErrorKind.INVALID_REQUEST, {"topk": 4097}),
    "max_faces of nothing": (ErrorKind.INVALID_REQUEST, {"max_faces": 0}),
    "unknown option": (ErrorKind.INVALID_REQUEST, {"colour": 1}),
    "engine away": (ErrorKind.UNAVAILABLE, broken(EngineUnavailable("secret"))),
    "engine late": (ErrorKind.DEADLINE_EXCEEDED, broken(EngineTimeout("secret"))),
    "engine full": (ErrorKind.OVERLOADED, broken(EngineOverloaded("secret"))),
    "engine broken": (ErrorKind.INTERNAL, broken(EngineFailure("secret"))),
    "a bug": (ErrorKind.INTERNAL, broken(ZeroDivisionError("secret"))),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("case", FAILURES)
def test_every_failure_has_its_code_status_and_count(door, case):
    kind, request = FAILURES[case]
    reply, metrics = ask(door, request_id="mine-1", **request)
    assert reply.code == kind.value
    assert reply.status == STATUS[door][kind]
    assert reply.request_id == "mine-1"
    assert reply.message
    assert "secret" not in reply.message
    assert reply.retry_seconds == (1.0 if kind in (ErrorKind.OVERLOADED, ErrorKind.UNAVAILABLE) else None)
    assert f'landmarks_requests_total{{code="{kind.value}",door="{door}"}} 1.0' in metrics
    assert "landmarks_in_flight 0.0" in metrics


def test_both_doors_answer_the_same_numbers_to_the_last_bit():
    async def run():
        detector = FakeDetector(((10.123456789, 20.2, 110.3, 140.4), 0.987654321), ((1.1, 2.2, 30.3, 40.4), 0.5))
        async with open_doors(make_gateway(FakeEngine(), detector)) as doors:
            requests: tuple[dict[str, Any], ...] = (
                {},
                {"boxes": [BOX, (1 / 3, 1e-7, 99.99999, 77.7)]},
                {"max_faces": 1, "topk": 3},
            )
            ask_rest, ask_rpc = doors["rest"].ask, doors["grpc"].ask
            return [((await ask_rest(IMAGE, **r)).body, (await ask_rpc(IMAGE, **r)).body) for r in requests]

    for body, message in asyncio.run(run()):
        assert AnswerModel.model_validate(body, strict=True)
        assert len(body["faces"]) == len(message.faces) > 0
        for face, other in zip(body["faces"], message.faces, strict=True):
            for name in ("box", "points", "scores", "covariances", "score", "inter_ocular"):
                ours = np.ravel(np.array(face[name], np.float32))
                theirs = np.ravel(np.array(getattr(other, name), np.float32))
                np.testing.assert_array_equal(ours, theirs, err_msg=name)
            assert face["box_source"] == other.box_source
            if face["box_source"] == "given":
                assert face["box_score"] is None
                assert not other.HasField("box_score")
            else:
                assert np.float32(face["box_score"]) == np.float32(other.box_score)
        plain = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        assert set(plain) == set(body)
        assert plain["model"] == body["model"]
        assert plain["image"] == body["image"]
        assert set(plain["timings_ms"]) == set(body["timings_ms"])
        assert [name for name in body["faces"][0] if name not in plain["faces"][0]] in ([], ["box_score"])


@pytest.mark.parametrize("door", DOORS)
def test_no_face_is_an_empty_list(door):
    reply, metrics = ask(door)
    assert reply.code == "ok"
    faces = reply.body["faces"] if door == "rest" else list(reply.body.faces)
    assert faces == []
    assert f'landmarks_requests_total{{code="ok",door="{door}"}} 1.0' in metrics
    assert 'landmarks_stage_seconds_count{stage="decode"} 1.0' in metrics
    assert "landmarks_faces_sum 0.0" in metrics


@pytest.mark.parametrize("door", DOORS)
def test_a_strange_request_id_is_replaced(door):
    reply, _ = ask(door, request_id="x" * 200)
    assert len(reply.request_id) == 32


@pytest.mark.parametrize("door", DOORS)
def test_a_full_service_says_so_at_once_and_serves_again(door):
    async def run():
        engine = FakeEngine()
        engine.gate = asyncio.Event()
        async with open_doors(make_gateway(engine, FakeDetector(), max_in_flight=1)) as doors:
            first = asyncio.ensure_future(doors[door].ask(IMAGE, boxes=[BOX]))
            await engine.arrived.wait()
            second = await doors[door].ask(IMAGE, boxes=[BOX])
            engine.gate.set()
            return (await first), second, await doors[door].ask(IMAGE, boxes=[BOX])

    first, second, third = asyncio.run(run())
    assert (first.code, second.code, third.code) == ("ok", "overloaded", "ok")
    assert second.retry_seconds == 1.0


@pytest.mark.parametrize("door", DOORS)
def test_the_clients_deadline_reaches_the_engine(door):
    engine = FakeEngine()
    assert ask(door, engine=engine, boxes=[BOX], timeout=7.0)[0].code == "ok"
    assert 0 < (engine.calls[0][2] or 0) < 7.0
    # without one the service's own holds
    engine = FakeEngine()
    assert ask(door, engine=engine, boxes=[BOX], limits={"request_timeout": 5.0})[0].code == "ok"
    assert 0 < (engine.calls[0][2] or 0) < 5.0


@pytest.mark.parametrize("door", DOORS)
def test_an_engine_that_hangs_is_given_up(door):
    engine = FakeEngine()
    engine.gate = asyncio.Event()  # made outside a loop, and never set
    reply, metrics = ask(door, engine=engine, boxes=[BOX], limits={"request_timeout": 0.5})
    assert reply.code == "deadline_exceeded"
    assert "landmarks_in_flight 0.0" in metrics


@pytest.mark.parametrize("door", DOORS)
def test_a_request_in_flight_is_finished_when_the_service_stops(door):
    async def run():
        engine = FakeEngine()
        engine.gate = asyncio.Event()
        gateway = make_gateway(engine, FakeDetector())
        async with open_doors(gateway) as doors:
            request = asyncio.ensure_future(doors[door].ask(IMAGE, boxes=[BOX]))
            await engine.arrived.wait()
            asyncio.get_running_loop().call_soon(engine.gate.set)
        assert not await gateway.readiness.check()
        return await request

    assert asyncio.run(run()).code == "ok"
