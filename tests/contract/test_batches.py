"""Several images in one call, asked of both doors over real sockets."""

import pytest
from google.protobuf.json_format import MessageToDict

from tests.contract.asking import BOX, DOORS, IMAGE, ask, ask_batch
from tests.fakes import FakeEngine, encoded, gradient_image


@pytest.mark.parametrize("door", DOORS)
def test_each_image_of_a_batch_has_its_own_answer_or_problem(door):
    images = [IMAGE, b"hello", encoded(gradient_image(100, 80))]
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
    assert f'landmarks_requests_total{{code="ok",door="{door}",protocol="{door}"}} 1.0' in metrics
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
