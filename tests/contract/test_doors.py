"""Every behaviour that both doors share, asked of each over real sockets."""

import asyncio
import math
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from PIL import Image as Pillow

from service.errors import ErrorKind
from service.inference import EngineFailure, EngineOverloaded, EngineTimeout, EngineUnavailable
from service.rest.errors import STATUS as HTTP
from service.rest.schema import AnswerModel, ModelsModel
from service.rpc.errors import STATUS as GRPC
from service.rpc.pb import landmarks_pb2 as pb
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
    "floats": (ErrorKind.UNSUPPORTED_IMAGE, {"image": encoded(np.zeros((8, 8), np.float32), ".tiff")}),
    "too long": (ErrorKind.SIDE_TOO_LONG, {"image": encoded(picture(8001, 2))}),
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
    "unknown field to omit": (ErrorKind.INVALID_REQUEST, {"omit": ["points", "box"]}),
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
                {"detector_threshold": 0.6, "model": "fake", "decoder": "argmax", "flip": True},
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
def test_the_caller_is_told_of_frames_that_were_not_read(door):
    film = BytesIO()
    frames = [Pillow.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(film, "WEBP", save_all=True, append_images=frames[1:])
    reply, _ = ask(door, film.getvalue())
    (warning,) = reply.body["warnings"] if door == "rest" else MessageToDict(reply.body)["warnings"]
    assert warning == {
        "code": "first_frame_only",
        "message": "the file holds several pictures: the first was used",
    }
    assert list(ask(door)[0].body["warnings"] if door == "rest" else ask(door)[0].body.warnings) == []


@pytest.mark.parametrize("door", DOORS)
def test_the_decoder_reaches_the_engine(door):
    for options, cells in (({}, None), ({"decoder": "topk", "topk": 4}, 4), ({"decoder": "argmax"}, 1)):
        engine = FakeEngine()
        ask(door, engine=engine, boxes=[BOX], **options)
        assert engine.calls[0][1] == cells


@pytest.mark.parametrize("door", DOORS)
def test_a_flipped_face_goes_through_the_engine_with_its_mirror_image(door):
    engine = FakeEngine()
    reply, _ = ask(door, engine=engine, boxes=[BOX, BOX], flip=True)
    assert engine.calls[0][0] == (4, 256, 256, 3)
    assert len(reply.body["faces"] if door == "rest" else reply.body.faces) == 2


@pytest.mark.parametrize("door", DOORS)
def test_the_threshold_is_inclusive_and_as_exact_as_the_scores_answered(door):
    detector = FakeDetector(((10, 10, 90, 90), 0.6), ((10, 10, 80, 80), 0.3))
    for threshold, count in ((0, 2), (0.3, 2), (0.31, 1), (0.6, 1), (0.61, 0)):
        reply, _ = ask(door, detector=detector, detector_threshold=threshold)
        assert len(reply.body["faces"] if door == "rest" else reply.body.faces) == count, threshold


def test_what_is_omitted_is_not_there():
    omit = ["scores", "covariances", "timings_ms"]
    body = ask("rest", boxes=[BOX], omit=omit)[0].body
    assert AnswerModel.model_validate(body, strict=True)
    assert set(body) == {"request_id", "model", "image", "faces", "warnings"}
    assert set(body["faces"][0]) == {"box", "box_source", "box_score", "score", "inter_ocular", "points"}
    message = ask("grpc", boxes=[BOX], omit=omit)[0].body
    assert not message.HasField("timings_ms")
    (face,) = message.faces
    assert (len(face.points), len(face.scores), len(face.covariances)) == (196, 0, 0)
    assert len(ask("grpc", boxes=[BOX], omit=["points"])[0].body.faces[0].points) == 0


def test_both_doors_describe_the_same_models():
    async def run():
        async with open_doors(make_gateway(FakeEngine(), FakeDetector())) as doors:
            rest = await doors["rest"].client.get("/v1/models")
            return rest.json(), await doors["grpc"].stub.ListModels(pb.ListModelsRequest())

    body, message = asyncio.run(run())
    assert ModelsModel.model_validate(body, strict=True)
    assert body["models"] == [
        {
            "name": "fake",
            "version": "7",
            "provenance": "sha256:00",
            "layout": "wflw98",
            "input_size": 256,
            "crop_scale": 1.25,
            "topk": 9,
            "decoders": ["topk", "argmax"],
            "degrees_of_freedom": {"jaw": 4.0},
            "run_id": "none",
            "data": ["none"],
        }
    ]
    assert MessageToDict(message, preserving_proto_field_name=True) == body


@pytest.mark.parametrize("door", DOORS)
def test_no_face_is_an_empty_list(door):
    reply, metrics = ask(door)
    assert reply.code == "ok"
    faces = reply.body["faces"] if door == "rest" else list(reply.body.faces)
    assert faces == []
    assert f'landmarks_requests_total{{code="ok",door="{door}"}} 1.0' in metrics
    assert f'landmarks_stage_seconds_count{{door="{door}",stage="decode"}} 1.0' in metrics
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


def ask_batch(door, images, options=None, engine=None, detector=None, **limits):
    """(code, body) of one call of several images; REST's body and gRPC's message as the same dictionary."""

    async def run():
        gateway = make_gateway(engine or FakeEngine(), detector or FakeDetector(), **limits)
        async with open_doors(gateway) as doors:
            reply = await doors[door].ask_batch(images, options or [{}] * len(images), request_id="mine")
            return reply, gateway.metrics.text().decode()

    return asyncio.run(run())


@pytest.mark.parametrize("door", DOORS)
def test_each_image_of_a_batch_has_its_own_answer_or_problem(door):
    images = [IMAGE, b"hello", encoded(picture(100, 80))]
    options = [{"boxes": [BOX, BOX]}, {}, {"boxes": [(0, 0, 50, 50)], "omit": ["timings_ms"], "topk": 4}]
    reply, metrics = ask_batch(door, images, options)
    assert (reply.code, reply.request_id) == ("ok", "mine")
    first, second, third = reply.body["results"]
    assert [len(each["answer"]["faces"]) for each in (first, third)] == [2, 1]
    assert (third["answer"]["image"], third["answer"]["request_id"]) == ({"width": 100, "height": 80}, "mine/2")
    assert "timings_ms" not in third["answer"]
    assert second == {
        "problem": {
            "type": "urn:problem-type:landmarks:not_an_image",
            "title": "The bytes are no image of a known format",
            "status": 415,
            "detail": "these bytes are not an image that is read here; send a JPEG, PNG, WebP, BMP or TIFF file",
            "code": "not_an_image",
            "action": "Send JPEG, PNG, WebP, BMP or TIFF.",
            "request_id": "mine/1",
        }
    }
    assert f'landmarks_requests_total{{code="ok",door="{door}"}} 1.0' in metrics
    assert 'landmarks_batch_images_total{code="ok"} 2.0' in metrics
    assert 'landmarks_batch_images_total{code="not_an_image"} 1.0' in metrics


@pytest.mark.parametrize("door", DOORS)
def test_what_is_wrong_with_one_image_of_a_batch_is_told_in_its_place(door):
    options = [{"colour": 1}, {"topk": 0}, {"boxes": [(9, 0, 1, 1)]}]
    reply, _ = ask_batch(door, [IMAGE] * 3, options)
    assert [each["problem"]["code"] for each in reply.body["results"]] == [
        "invalid_request",
        "invalid_request",
        "invalid_box",
    ]
    engine = FakeEngine()
    engine.error = ZeroDivisionError("secret")
    reply, _ = ask_batch(door, [IMAGE, IMAGE], [{"boxes": [BOX]}, {}], engine=engine)
    broken, fine = reply.body["results"]
    assert broken["problem"]["code"] == "internal"
    assert "secret" not in str(broken)
    assert fine["answer"]["faces"] == []


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("images", "limits", "code"),
    [
        ([], {}, "invalid_request"),
        ([IMAGE] * 4, {}, "too_many_images"),
        ([IMAGE], {"max_in_flight": 0}, "overloaded"),
    ],
)
def test_a_batch_that_is_refused_as_a_whole(door, images, limits, code):
    assert ask_batch(door, images, **limits)[0].code == code


@pytest.mark.parametrize("door", DOORS)
def test_a_batch_answers_as_its_images_do_alone(door):
    options = {"boxes": [BOX], "topk": 4, "flip": True, "omit": ["timings_ms"]}
    alone = ask(door, **options)[0].body
    together = ask_batch(door, [IMAGE, IMAGE], [options, options])[0].body["results"]
    expected = alone if door == "rest" else MessageToDict(alone, preserving_proto_field_name=True)
    for number, result in enumerate(together):
        assert result["answer"] | {"request_id": ""} == expected | {"request_id": ""}, number
