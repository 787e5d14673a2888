"""What both APIs answer, over real sockets."""

from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from PIL import Image as Pillow

from landmarks_client.pb import landmarks_pb2 as pb
from service.rest.schema import AnswerModel, ModelsModel
from tests.contract.apis import open_apis
from tests.contract.asking import BOX, IMAGE, PROTOCOLS, ask
from tests.fakes import MODEL, FakeDetector, FakeEngine, make_gateway

pytestmark = pytest.mark.anyio


async def test_both_apis_answer_the_same_numbers_to_the_last_bit():
    detector = FakeDetector(((10.123456789, 20.2, 110.3, 140.4), 0.987654321), ((1.1, 2.2, 30.3, 40.4), 0.5))
    requests: tuple[dict[str, Any], ...] = (
        {},
        {"boxes": [BOX, (1 / 3, 1e-7, 99.99999, 77.7)]},
        {"max_faces": 1, "topk": 3},
        {"detector_threshold": 0.6, "model": "fake", "decoder": "argmax", "flip": True},
        {"min_score": 0.5},
    )
    async with open_apis(make_gateway(FakeEngine(), detector)) as apis:
        rest = [(await apis["rest"].ask(IMAGE, **request)).body for request in requests]
        grpc = [(await apis["grpc"].ask(IMAGE, **request)).body for request in requests]
    for body, message in zip(rest, grpc, strict=True):
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


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_answer_warns_of_frames_that_were_not_read(protocol):
    film = BytesIO()
    frames = [Pillow.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(film, "WEBP", save_all=True, append_images=frames[1:])
    reply, _ = await ask(protocol, film.getvalue())
    (warning,) = reply.body["warnings"] if protocol == "rest" else MessageToDict(reply.body)["warnings"]
    assert warning == {
        "code": "first_frame_only",
        "message": "the file holds several images: the first was used",
    }
    assert (
        list(
            (await ask(protocol))[0].body["warnings"] if protocol == "rest" else (await ask(protocol))[0].body.warnings
        )
        == []
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_decoder_reaches_the_engine(protocol):
    for options in ({}, {"topk": 4}, {"decoder": "topk", "topk": 4}, {"decoder": "argmax"}, {"decoder": "3x3"}):
        engine = FakeEngine()
        await ask(protocol, engine=engine, boxes=[BOX], **options)
        _, topk, _, decoder = engine.calls[0]
        assert (topk, decoder) == (options.get("topk"), options.get("decoder"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_flipped_face_goes_through_the_engine_with_its_mirror_image(protocol):
    engine = FakeEngine()
    reply, _ = await ask(protocol, engine=engine, boxes=[BOX, BOX], flip=True)
    assert engine.calls[0][0] == (4, 256, 256, 3)
    assert len(reply.body["faces"] if protocol == "rest" else reply.body.faces) == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_threshold_is_inclusive_and_as_exact_as_the_scores_answered(protocol):
    detector = FakeDetector(((10, 10, 90, 90), 0.6), ((10, 10, 80, 80), 0.3))
    for threshold, count in ((0, 2), (0.3, 2), (0.31, 1), (0.6, 1), (0.61, 0)):
        reply, _ = await ask(protocol, detector=detector, detector_threshold=threshold)
        assert len(reply.body["faces"] if protocol == "rest" else reply.body.faces) == count, threshold


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_least_score_is_inclusive_and_as_exact_as_the_scores_answered(protocol):
    detector = FakeDetector(((10, 10, 90, 90), 0.6))
    reply, _ = await ask(protocol, detector=detector)
    (face,) = reply.body["faces"] if protocol == "rest" else reply.body.faces
    score = face["score"] if protocol == "rest" else face.score
    for least, count in ((0, 1), (score, 1), (min(1.0, score + 1e-6), 0 if score < 1 else 1)):
        reply, _ = await ask(protocol, detector=detector, min_score=least)
        assert len(reply.body["faces"] if protocol == "rest" else reply.body.faces) == count, least


async def test_what_is_omitted_is_not_there():
    omit = ["scores", "covariances", "timings_ms"]
    body = (await ask("rest", boxes=[BOX], omit=omit))[0].body
    assert AnswerModel.model_validate(body, strict=True)
    assert set(body) == {"request_id", "model", "image", "faces", "warnings"}
    assert set(body["faces"][0]) == {"box", "box_source", "box_score", "score", "inter_ocular", "points", "passes"}
    message = (await ask("grpc", boxes=[BOX], omit=omit))[0].body
    assert not message.HasField("timings_ms")
    (face,) = message.faces
    assert (len(face.points), len(face.scores), len(face.covariances)) == (196, 0, 0)
    assert len((await ask("grpc", boxes=[BOX], omit=["points"]))[0].body.faces[0].points) == 0


async def test_visibility_is_there_where_the_model_states_it():
    """The fake's visibility is its scores: (i + 0.5) / 98."""
    engine = FakeEngine()
    stated = replace(MODEL.metadata, golden_visibility=(0.5,) * 98)
    async with open_apis(make_gateway(engine, FakeDetector())) as apis:
        without = (await apis["rest"].ask(IMAGE, boxes=[BOX])).body["faces"][0]
        none = (await apis["grpc"].ask(IMAGE, boxes=[BOX])).body.faces[0]
        engine.model = replace(MODEL, metadata=stated)
        body = (await apis["rest"].ask(IMAGE, boxes=[BOX])).body
        message = (await apis["grpc"].ask(IMAGE, boxes=[BOX])).body
        flipped = (await apis["rest"].ask(IMAGE, boxes=[BOX], flip=True)).body
        omitted = (await apis["rest"].ask(IMAGE, boxes=[BOX], omit=["visibility"])).body
    assert "visibility" not in without
    assert len(none.visibility) == 0
    assert AnswerModel.model_validate(body, strict=True)
    expected = ((np.arange(98) + 0.5) / 98).astype(np.float32)
    np.testing.assert_array_equal(np.array(body["faces"][0]["visibility"], np.float32), expected)
    np.testing.assert_array_equal(np.array(message.faces[0].visibility, np.float32), expected)
    mirrored = expected[list(stated.layout.flip)]
    assert flipped["faces"][0]["visibility"] == pytest.approx((expected + mirrored) / 2, abs=1e-6)
    assert "visibility" not in omitted["faces"][0]
    assert AnswerModel.model_validate(omitted, strict=True)


async def test_both_apis_describe_the_same_models():
    async with open_apis(make_gateway(FakeEngine(), FakeDetector())) as apis:
        body = (await apis["rest"].client.get("/v1/models")).json()
        message = await apis["grpc"].stub.ListModels(pb.ListModelsRequest())
    assert ModelsModel.model_validate(body, strict=True)
    assert body["models"] == [
        {
            "name": "fake",
            "version": "7",
            "provenance": "sha256:00",
            "layout": "wflw98",
            "input_size": 256,
            "input_width": 256,
            "input_height": 256,
            "crop_scale": 1.25,
            "topk": 9,
            "decoders": ["topk", "argmax", "quarter", "3x3", "all"],
            "degrees_of_freedom": {"jaw": 4.0},
            "run_id": "none",
            "data": ["none"],
        }
    ]
    assert MessageToDict(message, preserving_proto_field_name=True) == body


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_no_face_is_an_empty_list(protocol):
    reply, metrics = await ask(protocol)
    assert reply.code == "ok"
    faces = reply.body["faces"] if protocol == "rest" else list(reply.body.faces)
    assert faces == []
    assert f'landmarks_requests_total{{code="ok",door="{protocol}",protocol="{protocol}"}} 1.0' in metrics
    assert f'landmarks_stage_seconds_count{{door="{protocol}",protocol="{protocol}",stage="decode"}} 1.0' in metrics
    assert "landmarks_faces_sum 0.0" in metrics


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_strange_request_id_is_replaced(protocol):
    reply, _ = await ask(protocol, request_id="x" * 200)
    assert len(reply.request_id) == 32
