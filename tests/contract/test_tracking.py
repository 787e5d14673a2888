"""The stream of gRPC, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import cv2
import grpc
import numpy as np
import pytest

from landmarks_client.pb import landmarks_pb2 as pb
from service.engines.port import EngineOverloaded
from service.memory import MemoryBudget
from service.rpc import interceptors
from service.security.api_keys import ApiKeys, Protection
from shots.smoothing import OneEuro
from tests.contract.apis import Rpc, open_apis
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

pytestmark = pytest.mark.anyio

IMAGE = encoded(gradient_image())
OTHER = encoded(gradient_image()[::-1, ::-1])
"""Of another take."""
BOX = (20.0, 30.0, 200.0, 210.0)
OPTIONS = pb.TrackRequest(options=pb.TrackOptions(rate=24))


def frame(number: int, image: bytes = IMAGE) -> pb.TrackRequest:
    return pb.TrackRequest(frame=pb.TrackFrame(number=number, image=image))


def raw(number: int, **values: Any) -> pb.TrackRequest:
    return pb.TrackRequest(frame=pb.TrackFrame(number=number, raw=pb.RawImage(**values)))


@asynccontextmanager
async def served(engine: Any = None, detector: Any = None, **limits: Any) -> AsyncIterator[tuple[Rpc, Any]]:
    gateway = make_gateway(engine or FakeEngine(), detector or FakeDetector((BOX, 0.9)), **limits)
    async with open_apis(gateway) as apis:
        yield apis["grpc"], gateway


async def answers(api: Rpc, messages: Iterable[pb.TrackRequest], **call: Any) -> list[pb.TrackResponse]:
    return [answer async for answer in api.stub.Track(iter(messages), timeout=60, **call)]


async def refusal(api: Rpc, *messages: bytes | pb.TrackRequest) -> tuple[Any, str, list[int]]:
    """How the stream of these messages ends: its status and code, and the frames that were answered before.

    By gRPC's synchronous client: the other reports a call that ends while a message is being sent as an internal error.
    """

    def ask() -> tuple[Any, str, list[int]]:
        found: list[int] = []
        with grpc.insecure_channel(api.address) as channel:
            call = channel.stream_stream(
                "/landmarks.v1.Landmarks/Track",
                request_serializer=lambda each: each if isinstance(each, bytes) else each.SerializeToString(),
                response_deserializer=pb.TrackResponse.FromString,
            )(iter(messages), timeout=60)
            with suppress(grpc.RpcError):
                found.extend(answer.frame for answer in call)
            return call.code(), dict(call.trailing_metadata()).get("landmarks-error-code", ""), found

    return await asyncio.to_thread(ask)


async def nothing_is_held(gateway: Any) -> None:
    while gateway.memory.body_bytes or gateway.memory.image_bytes:
        await asyncio.sleep(0.01)


class MovingDetector(FakeDetector):
    """Finds a face that is some pixels further with each image."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    async def detect(self, image: np.ndarray, **options: Any) -> Any:
        x1, y1, x2, y2 = BOX
        step = 3.0 * self._count
        self._count += 1
        self.found = (((x1 + step, y1, x2 + step, y2), 0.9),)
        return await super().detect(image, **options)


async def one_by_one(api: Rpc, numbers: Iterable[int], options: pb.TrackRequest = OPTIONS) -> list[pb.TrackResponse]:
    """A client that waits for each answer before it sends the next frame."""
    call, found = api.stub.Track(timeout=60), []
    await call.write(options)
    for number in numbers:
        await call.write(frame(number))
        found.append(await call.read())
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    return found


async def test_frames_are_answered_in_order_as_images_are_and_with_what_they_have_in_common() -> None:
    async with served(max_in_flight=1) as (api, gateway):
        alone = (await api.ask(IMAGE)).body
        found = await answers(
            api, [OPTIONS, *map(frame, range(1001, 1011)), frame(1013)], metadata=(("x-request-id", "mine"),)
        )
        text = gateway.metrics.text().decode()
    assert [answer.frame for answer in found] == [*range(1001, 1011), 1013]
    assert [answer.missing for answer in found] == [0] * 10 + [2]
    assert not any(answer.cut for answer in found)
    assert found[4].answer.request_id == "mine/1005"
    assert found[4].answer.faces == alone.faces
    assert [[(face.id, face.gap) for face in answer.faces] for answer in found] == [[(1, 0)]] * 10 + [[(1, 2)]]
    assert len(found[0].faces[0].smoothed) == 2 * 98
    # the opening of the stream, its frames and the single image
    assert 'landmarks_requests_total{code="ok",door="grpc",protocol="grpc"} 13.0' in text
    assert "landmarks_in_flight 0.0" in text


async def test_smoothed_points_are_those_of_one_euro() -> None:
    async with served(detector=MovingDetector()) as (api, _):
        found = await one_by_one(api, [1, 2, 4])
    one_euro = OneEuro()
    for answer, seconds in zip(found, (1, 1 / 24, 2 / 24), strict=True):
        points = np.array(answer.answer.faces[0].points).reshape(-1, 2)
        smoothed = np.array(answer.faces[0].smoothed).reshape(-1, 2)
        np.testing.assert_allclose(smoothed, one_euro(points, seconds), atol=1e-3)
    assert np.abs(smoothed - points).max() > 0.01


async def test_a_cut_ends_the_faces_and_is_told() -> None:
    async with served() as (api, _):
        found = await answers(api, [OPTIONS, frame(1), frame(2, OTHER), frame(3, OTHER)])
    assert [(answer.cut, answer.faces[0].id) for answer in found] == [(False, 1), (True, 2), (False, 2)]


async def test_a_stream_that_is_continued_gives_what_an_unbroken_one_gives() -> None:
    async with served(detector=MovingDetector()) as (api, _):
        whole = await one_by_one(api, range(1, 9))
    async with served(detector=MovingDetector()) as (api, _):
        first = await one_by_one(api, range(1, 5))
        rest = await one_by_one(
            api, range(5, 9), pb.TrackRequest(options=pb.TrackOptions(rate=24, resume=first[-1].state))
        )
    for answer in (*whole, *first, *rest):
        answer.answer.ClearField("timings_ms")
        answer.answer.ClearField("request_id")
    assert [*first, *rest] == whole


async def test_an_image_that_cannot_be_read_is_a_problem_of_its_frame() -> None:
    async with served() as (api, gateway):
        found = await answers(api, [OPTIONS, frame(1), frame(2, b"no image"), frame(3, bytes(200_000)), frame(4)])
        text = gateway.metrics.text().decode()
    codes = [answer.problem.code for answer in found]
    assert codes == ["", "not_an_image", "too_many_bytes", ""]
    assert [answer.WhichOneof("outcome") for answer in found] == ["answer", "problem", "problem", "answer"]
    assert [(face.id, face.gap) for face in found[3].faces] == [(1, 2)]
    assert 'landmarks_requests_total{code="not_an_image",door="grpc",protocol="grpc"} 1.0' in text


RGB = gradient_image(64, 48)
RGBA = np.dstack([RGB, RGB[:, :, :1]])


@pytest.mark.parametrize(
    ("samples", "values"),
    [
        (RGB, {}),
        (RGBA, {"channels": 4}),
        (RGB.astype("<u2") * 257, {"type": "uint16"}),
        ((RGB / 255).astype("<f4"), {"type": "float", "colour_space": "srgb"}),
        (np.pad(RGB.reshape(48, -1), ((0, 0), (0, 8))), {"stride": 200}),
        (RGB.transpose(2, 0, 1), {"planar": True}),
        (
            np.pad((RGBA / 255).astype("<f2").transpose(2, 0, 1), ((0, 0), (0, 0), (0, 6))),
            {"planar": True, "channels": 4, "type": "half", "colour_space": "srgb", "stride": 140},
        ),
    ],
)
async def test_raw_pixels_are_answered_as_the_file_of_them(samples: np.ndarray, values: dict[str, Any]) -> None:
    detector = FakeDetector(((5.0, 5.0, 40.0, 40.0), 0.9))
    shown: list[np.ndarray] = []

    async def detect(image: np.ndarray, **options: Any) -> Any:
        shown.append(image.copy())
        return await FakeDetector.detect(detector, image, **options)

    detector.detect = detect  # type: ignore[method-assign]
    async with served(detector=detector) as (api, _):
        found = await answers(api, [OPTIONS, raw(1, width=64, height=48, samples=samples.tobytes(), **values)])
    np.testing.assert_array_equal(shown[0], RGB)
    assert (found[0].answer.image.width, found[0].answer.image.height) == (64, 48)


async def test_linear_pixels_are_shown_with_the_curve_of_srgb() -> None:
    """18 % grey is 118 of 255."""
    shown: list[int] = []

    class Detector(FakeDetector):
        async def detect(self, image: np.ndarray, **options: Any) -> Any:
            shown.append(int(image[0, 0, 1]))
            return await super().detect(image, **options)

    grey = np.full((48, 64, 1), 0.18)
    async with served(detector=Detector()) as (api, _):
        size = {"width": 64, "height": 48, "channels": 1}
        await answers(
            api,
            [
                OPTIONS,
                raw(1, samples=grey.astype("<f2").tobytes(), type="half", **size),
                raw(
                    2,
                    samples=np.round(grey * 65535).astype("<u2").tobytes(),
                    type="uint16",
                    colour_space="linear",
                    **size,
                ),
            ],
        )
    assert shown == [118, 118]


async def test_numbers_of_raw_pixels_that_do_not_fit_together_are_refused() -> None:
    wrong: list[dict[str, Any]] = [
        {"samples": bytes(10)},
        {"samples": bytes(9216), "stride": 100},
        {"samples": bytes(9216), "stride": 192, "planar": True},
        {"samples": bytes(9215), "planar": True},
        {"samples": bytes(9216), "type": "double"},
        {"samples": bytes(9216), "channels": 2},
        {"samples": bytes(9216), "colour_space": "ACEScg"},
        {"samples": b"", "width": 0},
    ]
    async with served() as (api, _):
        for values in wrong:
            found = await refusal(api, OPTIONS, raw(1, **{"width": 64, "height": 48, **values}))
            assert found == (grpc.StatusCode.INVALID_ARGUMENT, "invalid_request", []), values


FACE = pb.KnownFace(id=1, frame=4, box=BOX, points=[1, 2], smoothed=[1, 2], velocities=[0, 0])
STATE = pb.TrackState(frame=4, next_id=2, faces=[FACE])


def spoilt(**values: Any) -> pb.TrackRequest:
    state = pb.TrackState()
    state.CopyFrom(STATE)
    for name, value in values.items():
        holder = state if name in ("glance", "next_id") else state.faces[0]
        if isinstance(value, list):
            holder.ClearField(name)
            getattr(holder, name).extend(value)
        else:
            setattr(holder, name, value)
    return pb.TrackRequest(options=pb.TrackOptions(resume=state))


async def test_a_stream_that_begins_wrongly_is_refused() -> None:
    beginnings = [
        frame(1),
        pb.TrackRequest(),
        pb.TrackRequest(options=pb.TrackOptions(detect=pb.DetectRequest(boxes=[pb.Box(x2=1, y2=1)]))),
        pb.TrackRequest(options=pb.TrackOptions(detect=pb.DetectRequest(image=IMAGE))),
        pb.TrackRequest(options=pb.TrackOptions(detect=pb.DetectRequest(topk=0))),
        pb.TrackRequest(options=pb.TrackOptions(rate=0)),
        pb.TrackRequest(options=pb.TrackOptions(rate=float("nan"))),
        spoilt(glance=b"x"),
        spoilt(next_id=1),
        spoilt(next_id=2**31),
        spoilt(frame=5),
        spoilt(box=[1.0]),
        spoilt(points=[float("nan"), 1.0]),
        spoilt(points=[3e38, 1.0]),
        spoilt(points=[]),
        spoilt(points=[1.0, 2.0, 3.0]),
        pb.TrackRequest.FromString(OPTIONS.SerializeToString() + b"\x98\x06\x01"),
    ]
    async with served() as (api, gateway):
        for first in beginnings:
            found = await refusal(api, first, frame(5))
            assert found == (grpc.StatusCode.INVALID_ARGUMENT, "invalid_request", []), first
        await nothing_is_held(gateway)


async def test_what_comes_out_of_order_ends_the_stream_after_the_frames_before() -> None:
    async with served() as (api, _):
        for message in [frame(4), frame(3), OPTIONS, pb.TrackRequest(frame=pb.TrackFrame(number=9))]:
            found = await refusal(api, OPTIONS, frame(3), frame(4), message, frame(5))
            assert found == (grpc.StatusCode.INVALID_ARGUMENT, "invalid_request", [3, 4])


async def test_a_message_that_is_no_protobuf_ends_the_stream() -> None:
    async with served() as (api, gateway):
        status, code, _ = await refusal(api, OPTIONS, frame(1), b"\x0a\x05")
        assert (status, code) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid_request")
        await nothing_is_held(gateway)


async def test_a_state_of_another_model_is_refused() -> None:
    async with served() as (api, _):
        found = await refusal(api, pb.TrackRequest(options=pb.TrackOptions(resume=STATE)), frame(5))
    assert found[1] == "invalid_request"


async def test_a_full_queue_ends_the_stream_which_may_be_continued() -> None:
    engine = FakeEngine()
    async with served(engine) as (api, _):
        first = await one_by_one(api, [1])
        engine.error = EngineOverloaded("full")
        status, code, _ = await refusal(api, OPTIONS, frame(1))
        assert (status, code) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "overloaded")
        engine.error = None
        options = pb.TrackRequest(options=pb.TrackOptions(resume=first[0].state))
        assert [answer.faces[0].id for answer in await one_by_one(api, [2], options)] == [1]


async def test_no_more_frames_are_received_than_are_worked_on() -> None:
    """The memory of each is held until it is answered."""
    engine = FakeEngine()
    engine.gate = asyncio.Event()
    memory = MemoryBudget(2**30)
    async with served(engine, memory=memory, max_in_flight=1) as (api, gateway):
        call, sent = api.stub.Track(timeout=60), 0

        async def send() -> None:
            nonlocal sent
            await call.write(OPTIONS)
            for number in range(60):
                noise = np.random.default_rng(number).integers(0, 255, (150, 200, 3)).astype(np.uint8)
                await call.write(raw(number, width=200, height=150, samples=noise.tobytes()))
                sent += 1

        sending = asyncio.create_task(send())
        while len(engine.calls) < 4:
            await asyncio.sleep(0.01)
        assert (await api.ask(IMAGE)).code == "overloaded"  # the stream is one request in flight
        assert memory.body_bytes >= 4 * 90_000
        engine.gate.set()
        assert [(await call.read()).frame for _ in range(60)] == list(range(60))
        await sending
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert len(engine.calls) == 60
        await nothing_is_held(gateway)
    assert sent == 60


async def test_a_client_that_takes_no_answers_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interceptors, "SEND_SECONDS", 0.3)
    async with served() as (api, gateway):
        call = api.stub.Track(timeout=60)
        await call.write(OPTIONS)
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            for number in range(100_000):
                await call.write(frame(number))
        assert await call.code() is not grpc.StatusCode.OK
        await nothing_is_held(gateway)


async def test_a_client_that_goes_leaves_nothing_behind() -> None:
    engine = FakeEngine()
    engine.gate = asyncio.Event()
    async with served(engine) as (api, gateway):
        call = api.stub.Track(timeout=60)
        await call.write(OPTIONS)
        await call.write(frame(1))
        await engine.arrived.wait()
        call.cancel()
        engine.gate.set()
        await nothing_is_held(gateway)
        assert (await api.ask(IMAGE)).code == "ok"


async def test_a_stopping_service_lets_streams_go() -> None:
    """Once the next answer is sent."""
    engine = FakeEngine()
    engine.gate = asyncio.Event()
    async with served(engine) as (api, gateway):
        call = api.stub.Track(timeout=60)
        await call.write(OPTIONS)
        await call.write(frame(1))
        await engine.arrived.wait()
        gateway.readiness.stop()
        engine.gate.set()
        assert (await call.read()).frame == 1
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_stream_needs_a_key_where_the_service_requires_one() -> None:
    gateway = make_gateway(FakeEngine(), FakeDetector())
    keys = ApiKeys({"ana": bytes(32)})
    async with open_apis(gateway, Protection(keys=keys)) as apis:
        assert (await refusal(apis["grpc"], OPTIONS, frame(1)))[1] == "unauthenticated"


async def test_a_pixel_aspect_is_that_of_all_frames() -> None:
    squeezed = cv2.resize(gradient_image(), (160, 240))
    options = pb.TrackRequest(options=pb.TrackOptions(detect=pb.DetectRequest(pixel_aspect=2.0)))
    async with served() as (api, _):
        found = await answers(api, [options, frame(1, encoded(squeezed))])
    assert found[0].answer.image.width == 160
    np.testing.assert_allclose(found[0].answer.faces[0].box, [9.75, 30, 99.75, 210], atol=0.01)
