"""The Python client against both doors, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from landmarks_client import Answer, AsyncClient, Client, NoAnswer, ServiceProblem
from service.engines.port import EngineOverloaded
from service.errors import ErrorKind
from service.rest.negotiation import to_json
from tests.client import conftest
from tests.contract.apis import open_doors
from tests.fakes import MODEL, FakeDetector, FakeEngine, encoded, make_gateway, picture

IMAGE = encoded(picture())
BOX = (20.1, 30.7, 200.3, 210.9)
URLS = ["http", "grpc"]
CLIENTS = [Client, AsyncClient]

Ask = Callable[..., Awaitable[Any]]


def asked(scheme, kind, work, *, engine=None, detector=None, timeout=30.0, **limits):
    """What `work(ask)` returns, where `ask(method, *arguments)` calls a client of this kind at this door."""

    async def run():
        gateway = make_gateway(engine or FakeEngine(), detector or FakeDetector(), **limits)
        async with open_doors(gateway) as doors:
            url = doors["rest"].url if scheme == "http" else f"grpc://{doors['grpc'].address}"
            client = kind(url, timeout=timeout)

            try:
                return await work(partial(conftest.ask, client))
            finally:
                await conftest.ask(client, "close")

    return asyncio.run(run())


def one(*arguments, **keywords):
    return lambda ask: ask(*arguments, **keywords)


every_client = pytest.mark.parametrize("kind", CLIENTS)
every_door = pytest.mark.parametrize("scheme", URLS)


@every_client
@every_door
def test_an_answer_is_typed(scheme: str, kind: Any) -> None:
    answer = asked(scheme, kind, one("landmarks", IMAGE, boxes=[BOX], request_id="mine"))
    assert isinstance(answer, Answer)
    assert (answer.request_id, answer.width, answer.height) == ("mine", 320, 240)
    assert (answer.model.name, answer.model.version, answer.model.provenance) == ("fake", "7", "sha256:00")
    assert set(answer.timings_ms) == {"decode", "detect", "crop", "infer", "total"}
    (face,) = answer.faces
    assert face.box.tolist() == [float(np.float32(v)) for v in BOX]
    assert (face.box_source, face.box_score) == ("given", None)
    assert 0 <= face.score <= 1
    shapes = [face.points.shape, face.scores.shape, face.covariances.shape, face.covariance_matrices.shape]
    assert shapes == [(98, 2), (98,), (98, 3), (98, 2, 2)]
    assert {a.dtype for a in (face.points, face.scores, face.covariances)} == {np.dtype(np.float32)}
    xx, xy, yy = face.covariances[5]
    assert face.covariance_matrices[5].tolist() == [[xx, xy], [xy, yy]]
    # the fake's point i lies at crop pixel (i, 2 i): one step is the same everywhere
    steps = np.diff(face.points, axis=0)
    np.testing.assert_allclose(steps, np.broadcast_to([0.87990, 1.75980], (97, 2)), atol=1e-3)


def test_every_client_and_every_door_give_the_same_numbers() -> None:
    found = FakeDetector(((10, 10, 200, 200), 0.875), ((5.3, 5.3, 60, 60), 0.75))
    bodies = [
        json.loads(to_json(asked(scheme, kind, one("landmarks", IMAGE), detector=found).as_dict()))
        for scheme in URLS
        for kind in CLIENTS
    ]
    assert [face["box_score"] for face in bodies[0]["faces"]] == [0.875, 0.75]
    for body in bodies:
        del body["request_id"], body["timings_ms"]
    assert bodies == [bodies[0]] * 4


def test_as_dict_is_what_the_wire_says() -> None:
    async def run():
        async with open_doors(make_gateway(FakeEngine(), FakeDetector())) as doors, AsyncClient(doors["rest"].url) as c:
            ours = await c.landmarks(IMAGE, boxes=[BOX], request_id="one", omit=["timings_ms"])
            query = {"box": ",".join(map(str, BOX)), "omit": "timings_ms"}
            async with httpx.AsyncClient() as http:
                headers = {"Content-Type": "image/png", "X-Request-ID": "one"}
                url = f"{doors['rest'].url}/v1/landmarks"
                wire = await http.post(url, content=IMAGE, params=query, headers=headers)
            return to_json(ours.as_dict()), wire.content

    ours, wire = asyncio.run(run())
    assert ours == wire


@every_client
@every_door
@pytest.mark.parametrize("of", [bytearray, memoryview])
def test_bytes_may_lie_in_a_buffer(scheme: str, kind: Any, of: Any) -> None:
    assert asked(scheme, kind, one("landmarks", of(IMAGE), boxes=[BOX])).width == 320


@every_client
@every_door
def test_options_reach_the_service(scheme: str, kind: Any) -> None:
    engine = FakeEngine()
    detector = FakeDetector(((0, 0, 90, 90), 0.9), ((0, 0, 60, 60), 0.8), ((0, 0, 50, 50), 0.1))
    options = {"max_faces": 2, "detector_threshold": 0.5, "model": "fake", "decoder": "topk", "topk": 4, "flip": True}
    omit = {"omit": ["points", "scores", "covariances", "timings_ms"], "boxes": ()}
    answer = asked(scheme, kind, one("landmarks", IMAGE, **options, **omit), engine=engine, detector=detector)
    assert [face.box.tolist() for face in answer.faces] == [[0, 0, 90, 90], [0, 0, 60, 60]]
    assert [call[:2] for call in engine.calls] == [((4, 256, 256, 3), 4)]  # two faces and their mirror images
    face = answer.faces[0]
    assert (face.points.shape, face.scores.shape, face.covariances.shape) == ((0, 2), (0,), (0, 3))
    assert (answer.timings_ms, "points" in answer.as_dict()["faces"][0]) == ({}, False)


@every_client
@every_door
def test_numpy_s_numbers_and_arrays_reach_the_service_and_none_is_left_out(scheme: str, kind: Any) -> None:
    engine = FakeEngine()
    detector = FakeDetector(((0, 0, 90, 90), 0.9), ((0, 0, 60, 60), 0.8), ((0, 0, 50, 50), 0.1))
    chosen: list[dict[str, Any]] = [
        {"detector_threshold": np.float64(0.85), "boxes": None, "omit": None, "flip": np.bool_(False)},
        {"detector_threshold": np.float32(0.5), "boxes": np.zeros((0, 4)), "max_faces": None},
        {"max_faces": np.int64(1), "flip": np.bool_(True), "topk": np.uint8(4), "decoder": np.str_("topk")},
        {"boxes": np.array([[20, 30, 200, 210]], np.float32), "omit": np.array(["scores"])},
    ]
    sides = [[90], [90, 60], [90], [180]]

    async def work(ask):
        single = [await ask("landmarks", IMAGE, **options) for options in chosen]
        return single, [await ask("landmarks_batch", [IMAGE], **options) for options in chosen]

    single, batches = asked(scheme, kind, work, engine=engine, detector=detector)
    for answers in (single, [answer for (answer,) in batches]):
        assert [[face.box[2] - face.box[0] for face in answer.faces] for answer in answers] == sides
        assert len(answers[3].faces[0].scores) == 0
    crops = [((1, 256, 256, 3), None), ((2, 256, 256, 3), None), ((2, 256, 256, 3), 4), ((1, 256, 256, 3), None)]
    assert [call[:2] for call in engine.calls] == crops * 2


@every_client
@every_door
def test_a_problem_is_told_whole(scheme: str, kind: Any) -> None:
    with pytest.raises(ServiceProblem) as caught:
        asked(scheme, kind, one("landmarks", b"hello", request_id="mine"))
    problem = caught.value
    assert (problem.code, problem.title) == ("not_an_image", "The bytes are no image of a known format")
    assert problem.detail.startswith("these bytes are not an image")
    assert (problem.action, problem.request_id) == ("Send JPEG, PNG, WebP, BMP or TIFF.", "mine")
    assert problem.retry_after is None
    assert str(problem) == f"{problem.detail} (not_an_image)"


@every_client
@every_door
def test_a_batch_has_an_outcome_for_each_image(scheme: str, kind: Any, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(IMAGE)
    each = [{"topk": 1}, {}, {"boxes": [(9, 9, 1, 1)]}]
    work = one("landmarks_batch", [str(photo), b"hello", photo], each=each, boxes=[BOX], request_id="me")
    first, second, third = asked(scheme, kind, work)
    assert [face.box_source for face in first.faces] == ["given"]
    assert (second.code, second.request_id, second.title) == ("not_an_image", "me/1", ErrorKind.NOT_AN_IMAGE.title)
    assert third.code == "invalid_box"
    with pytest.raises(ServiceProblem, match="too_many_images"):
        asked(scheme, kind, one("landmarks_batch", [IMAGE] * 4))


@every_client
@every_door
def test_models_are_described(scheme: str, kind: Any) -> None:
    (model,) = asked(scheme, kind, one("models"))
    assert (model.name, model.layout, model.input_size, model.topk) == ("fake", "wflw98", 256, 9)
    assert (model.decoders, model.data, model.crop_scale) == (
        ("topk", "argmax", "quarter", "3x3", "all"),
        ("none",),
        1.25,
    )
    assert model.degrees_of_freedom == MODEL.metadata.degrees_of_freedom


class Flaky(FakeEngine):
    """Refuses the first crops it is given."""

    async def infer(self, crops, **options):
        self.error = None if self.calls else EngineOverloaded("busy")
        return await super().infer(crops, **options)


@every_door
def test_overload_is_waited_out(scheme: str) -> None:
    engine = Flaky()
    answer = asked(scheme, AsyncClient, one("landmarks", IMAGE, boxes=[BOX]), engine=engine)
    assert len(answer.faces) == 1
    assert len(engine.calls) == 2


@every_client
@every_door
def test_overload_that_lasts_is_told(scheme: str, kind: Any) -> None:
    engine = FakeEngine()
    engine.error = EngineOverloaded("busy")
    with pytest.raises(ServiceProblem) as caught:
        asked(scheme, kind, one("landmarks", IMAGE, boxes=[BOX], timeout=0.9), engine=engine)
    # the second that the service asks for is more than there is
    assert (caught.value.code, caught.value.retry_after, len(engine.calls)) == ("overloaded", 1.0, 1)


@every_client
@every_door
def test_a_deadline_is_kept(scheme: str, kind: Any) -> None:
    engine = FakeEngine()
    engine.gate = asyncio.Event()
    with pytest.raises((NoAnswer, ServiceProblem)) as caught:  # whichever of the two is first
        asked(scheme, kind, one("landmarks", IMAGE, boxes=[BOX], timeout=0.3), engine=engine)
    assert caught.value.code == "deadline_exceeded"


@every_door
def test_many_threads_share_a_client(scheme: str) -> None:
    async def work(ask):
        return await asyncio.gather(*(ask("landmarks", IMAGE, boxes=[BOX]) for _ in range(12)))

    answers = asked(scheme, Client, work, max_in_flight=12)
    assert {tuple(answer.faces[0].points.ravel()) for answer in answers} == {tuple(answers[0].faces[0].points.ravel())}
    assert len({answer.request_id for answer in answers}) == 12


@every_client
@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_there_is_told_at_once(scheme: str, kind: Any, unused_port: int) -> None:
    async def ask():
        client = kind(f"{scheme}://127.0.0.1:{unused_port}")
        try:
            return await conftest.ask(client, "landmarks", IMAGE)
        finally:
            await conftest.ask(client, "close")

    with pytest.raises(NoAnswer, match=rf"no answer from {scheme}://127\.0\.0\.1:{unused_port}: .*\(no_answer\)"):
        asyncio.run(ask())


@every_client
def test_the_other_doors_port_is_told_at_once_and_not_asked_again(kind: Any) -> None:
    async def run() -> None:
        async with open_doors(make_gateway(FakeEngine(), FakeDetector())) as doors:
            client = kind(f"http://{doors['grpc'].address}")
            try:
                await conftest.ask(client, "landmarks", IMAGE)
            finally:
                await conftest.ask(client, "close")

    with pytest.raises(NoAnswer, match="does not speak HTTP") as caught:
        asyncio.run(run())
    assert (caught.value.code, caught.value.retry_after) == ("not_understood", None)
    assert "grpc:// for the other" in caught.value.action


def test_a_photograph_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(FileNotFoundError):
        client.landmarks(tmp_path / "missing.jpg")
