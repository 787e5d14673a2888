"""The number of fields of a message, counted without parsing it."""

from __future__ import annotations

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks_client.pb import landmarks_pb2 as pb
from service.limits import MAX_FIELDS
from service.rpc.field_limit import Nested, has_too_many_fields
from tests.contract.apis import open_apis
from tests.fakes import FakeDetector, FakeEngine, make_gateway

BOX = st.builds(pb.Box, x1=st.just(1.5), y2=st.floats(allow_nan=False, width=32))
MESSAGE = st.builds(
    pb.DetectRequest,
    image=st.binary(max_size=300),
    boxes=st.lists(BOX, max_size=5),
    topk=st.none() | st.integers(1, 300),
    omit=st.lists(st.text(max_size=3), max_size=3),
)


def fields(message: pb.DetectRequest) -> int:
    """The fields of a message on the wire; an image without bytes is not sent."""
    return bool(message.image) + len(message.boxes) + message.HasField("topk") + len(message.omit)


@given(MESSAGE)
def test_the_fields_of_one_message(message: pb.DetectRequest) -> None:
    data, count = message.SerializeToString(), fields(message)
    assert not has_too_many_fields(data, limit=count)
    assert count == 0 or has_too_many_fields(data, limit=count - 1)


@given(st.lists(MESSAGE, max_size=4))
def test_the_fields_of_a_batch_and_of_its_messages(messages: list[pb.DetectRequest]) -> None:
    data = pb.DetectBatchRequest(requests=messages).SerializeToString()
    count = len(messages) + sum(map(fields, messages))
    assert not has_too_many_fields(data, {1: {}}, count)
    assert count == 0 or has_too_many_fields(data, {1: {}}, count - 1)


@given(st.lists(st.integers(0, 3), max_size=5))
def test_the_fields_of_a_state_within_the_options_of_a_stream(faces: list[int]) -> None:
    state = pb.TrackState(faces=[pb.KnownFace(box=[1.0] * size) for size in faces])
    request = pb.TrackRequest(options=pb.TrackOptions(detect=pb.DetectRequest(topk=4), rate=24, resume=state))
    data = request.SerializeToString()
    nested: Nested = {1: {1: {}, 3: {}}}
    count = 1 + 3 + 1 + len(faces)  # options; detect, rate and resume; topk; the faces
    assert not has_too_many_fields(data, nested, count)
    assert has_too_many_fields(data, nested, count - 1)


@given(st.binary(max_size=200))
def test_any_bytes_are_counted(data: bytes) -> None:
    assert not has_too_many_fields(data, {1: {1: {}, 2: {}}, 2: {}}, 200)
    assert not has_too_many_fields(data, limit=200)


def test_an_integer_without_an_end_is_left_to_the_parser() -> None:
    assert not has_too_many_fields(b"\x08" + b"\xff" * 1_000_000, limit=1)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "data", "code"),
    [
        ("DetectBatch", b"\x0a\x00" * (MAX_FIELDS + 1), "too_many_images"),
        ("DetectBatch", b"\x0a\x80\x80\x08" + b"\x12\x00" * 65536, "too_many_images"),  # one image, its boxes
        ("Detect", b"\x12\x00" * (MAX_FIELDS + 1), "too_many_boxes"),
        ("ListModels", b"\x12\x00" * (MAX_FIELDS + 1), "invalid_request"),
    ],
)
async def test_a_message_of_many_fields_is_refused_without_being_parsed(
    method: str, data: bytes, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.rpc.interceptors.DecodeError", ())  # a parser that is called fails on the cut message
    async with open_apis(make_gateway(FakeEngine(), FakeDetector())) as apis:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await apis["grpc"].channel.unary_unary(f"/landmarks.v1.Landmarks/{method}")(data + b"\x0a\x05")
    trailing = dict(caught.value.trailing_metadata())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert trailing["landmarks-error-code"] == code
