"""Several images in one call, to both APIs over real sockets."""

import pytest
from google.protobuf.json_format import MessageToDict

from service.engines.port import EngineOverloaded
from tests.contract.asking import BOX, IMAGE, PROTOCOLS, ask, ask_batch
from tests.fakes import FakeEngine, encoded, gradient_image

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_each_image_of_a_batch_has_its_own_answer_or_problem(protocol):
    images = [IMAGE, b"hello", encoded(gradient_image(100, 80))]
    options = [{"boxes": [BOX, BOX]}, {}, {"boxes": [(0, 0, 50, 50)], "omit": ["timings_ms"], "topk": 4}]
    reply, metrics = await ask_batch(protocol, images, options)
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
            "detail": "these bytes are not an image that is read here; send a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or "
            "HEIC file",
            "code": "not_an_image",
            "action": "Send JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC.",
            "request_id": "mine/1",
        }
    }
    assert f'landmarks_requests_total{{code="ok",door="{protocol}",protocol="{protocol}"}} 1.0' in metrics
    assert 'landmarks_batch_images_total{code="ok"} 2.0' in metrics
    assert 'landmarks_batch_images_total{code="not_an_image"} 1.0' in metrics


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_problem_with_one_image_of_a_batch_is_its_result(protocol):
    options = [{"colour": 1}, {"topk": 0}, {"boxes": [(9, 0, 1, 1)]}]
    reply, _ = await ask_batch(protocol, [IMAGE] * 3, options)
    assert [each["problem"]["code"] for each in reply.body["results"]] == [
        "invalid_request",
        "invalid_request",
        "invalid_box",
    ]
    engine = FakeEngine()
    engine.error = ZeroDivisionError("secret")
    reply, _ = await ask_batch(protocol, [IMAGE, IMAGE], [{"boxes": [BOX]}, {}], engine=engine)
    broken, fine = reply.body["results"]
    assert broken["problem"]["code"] == "internal"
    assert "secret" not in str(broken)
    assert fine["answer"]["faces"] == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_image_of_a_batch_that_meets_a_full_queue_is_a_rejection(protocol):
    engine = FakeEngine()
    engine.error = EngineOverloaded("full")
    reply, metrics = await ask_batch(protocol, [IMAGE] * 3, [{"boxes": [BOX]}, {}, {"boxes": [BOX]}], engine=engine)
    codes = [each["problem"]["code"] if "problem" in each else "ok" for each in reply.body["results"]]
    assert (reply.code, codes) == ("ok", ["overloaded", "ok", "overloaded"])
    assert f'landmarks_rejections_total{{door="{protocol}",protocol="{protocol}",reason="queue"}} 2.0' in metrics
    assert 'landmarks_batch_images_total{code="overloaded"} 2.0' in metrics


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("images", "limits", "code"),
    [
        ([], {}, "invalid_request"),
        ([IMAGE] * 4, {}, "too_many_images"),
        ([IMAGE], {"max_in_flight": 0}, "overloaded"),
    ],
)
async def test_a_batch_that_is_refused_as_a_whole(protocol, images, limits, code):
    assert (await ask_batch(protocol, images, **limits))[0].code == code


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_batch_answers_as_its_images_do_alone(protocol):
    options = {"boxes": [BOX], "topk": 4, "flip": True, "omit": ["timings_ms"]}
    alone = (await ask(protocol, **options))[0].body
    together = (await ask_batch(protocol, [IMAGE, IMAGE], [options, options]))[0].body["results"]
    expected = alone if protocol == "rest" else MessageToDict(alone, preserving_proto_field_name=True)
    for number, result in enumerate(together):
        assert result["answer"] | {"request_id": ""} == expected | {"request_id": ""}, number
