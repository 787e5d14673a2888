"""The Python client against both APIs, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from landmarks_client import Answer, AsyncClient, Client, NoAnswer, ServiceProblem
from service.engines.port import EngineOverloaded
from service.errors import ErrorKind
from service.wire.json import to_json
from tests.client.conftest import Ask, asking, every_api, every_client
from tests.contract.apis import open_apis
from tests.fakes import MODEL, FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

pytestmark = pytest.mark.anyio

IMAGE = encoded(gradient_image())
BOX = (20.1, 30.7, 200.3, 210.9)


@asynccontextmanager
async def service(
    scheme: str, kind: Any, *, engine: Any = None, detector: Any = None, timeout: float = 30.0, **limits: Any
) -> AsyncIterator[Ask]:
    """A gateway, and a client of this kind that uses this API of it."""
    async with open_apis(make_gateway(engine or FakeEngine(), detector or FakeDetector(), **limits)) as apis:
        url = apis["rest"].url if scheme == "http" else f"grpc://{apis['grpc'].address}"
        async with asking(kind, url, timeout=timeout) as ask:
            yield ask


@every_client
@every_api
async def test_an_answer_is_typed(scheme: str, kind: Any) -> None:
    async with service(scheme, kind) as ask:
        answer = await ask("landmarks", IMAGE, boxes=[BOX], request_id="mine")
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


async def test_every_client_and_every_api_give_the_same_numbers() -> None:
    detector = FakeDetector(((10, 10, 200, 200), 0.875), ((5.3, 5.3, 60, 60), 0.75))
    bodies = []
    for scheme in ("http", "grpc"):
        for kind in (Client, AsyncClient):
            async with service(scheme, kind, detector=detector) as ask:
                bodies.append(json.loads(to_json((await ask("landmarks", IMAGE)).as_dict())))
    assert [face["box_score"] for face in bodies[0]["faces"]] == [0.875, 0.75]
    for body in bodies:
        del body["request_id"], body["timings_ms"]
    assert bodies == [bodies[0]] * 4


async def test_as_dict_equals_the_json_of_the_rest_api() -> None:
    query = {"box": ",".join(map(str, BOX)), "omit": "timings_ms"}
    headers = {"Content-Type": "image/png", "X-Request-ID": "one"}
    async with (
        open_apis(make_gateway(FakeEngine(), FakeDetector())) as apis,
        AsyncClient(apis["rest"].url) as client,
        httpx.AsyncClient(base_url=apis["rest"].url) as http,
    ):
        answer = await client.landmarks(IMAGE, boxes=[BOX], request_id="one", omit=["timings_ms"])
        response = await http.post("/v1/landmarks", content=IMAGE, params=query, headers=headers)
    assert to_json(answer.as_dict()) == response.content


@every_client
@every_api
@pytest.mark.parametrize("buffer", [bytearray, memoryview])
async def test_an_image_may_be_any_buffer_of_bytes(scheme: str, kind: Any, buffer: Any) -> None:
    async with service(scheme, kind) as ask:
        assert (await ask("landmarks", buffer(IMAGE), boxes=[BOX])).width == 320


@every_client
@every_api
async def test_options_reach_the_service(scheme: str, kind: Any) -> None:
    engine = FakeEngine()
    detector = FakeDetector(((0, 0, 90, 90), 0.9), ((0, 0, 60, 60), 0.8), ((0, 0, 50, 50), 0.1))
    options = {"max_faces": 2, "detector_threshold": 0.5, "model": "fake", "decoder": "topk", "topk": 4, "flip": True}
    omit = {"omit": ["points", "scores", "covariances", "timings_ms"], "boxes": ()}
    async with service(scheme, kind, engine=engine, detector=detector) as ask:
        answer = await ask("landmarks", IMAGE, **options, **omit)
    assert [face.box.tolist() for face in answer.faces] == [[0, 0, 90, 90], [0, 0, 60, 60]]
    assert [call[:2] for call in engine.calls] == [((4, 256, 256, 3), 4)]  # two faces and their mirror images
    face = answer.faces[0]
    assert (face.points.shape, face.scores.shape, face.covariances.shape) == ((0, 2), (0,), (0, 3))
    assert (answer.timings_ms, "points" in answer.as_dict()["faces"][0]) == ({}, False)


@every_client
@every_api
async def test_numpy_s_numbers_and_arrays_reach_the_service_and_none_is_left_out(scheme: str, kind: Any) -> None:
    engine = FakeEngine()
    detector = FakeDetector(((0, 0, 90, 90), 0.9), ((0, 0, 60, 60), 0.8), ((0, 0, 50, 50), 0.1))
    chosen: list[dict[str, Any]] = [
        {"detector_threshold": np.float64(0.85), "boxes": None, "omit": None, "flip": np.bool_(False)},
        {"detector_threshold": np.float32(0.5), "boxes": np.zeros((0, 4)), "max_faces": None},
        {"max_faces": np.int64(1), "flip": np.bool_(True), "topk": np.uint8(4), "decoder": np.str_("topk")},
        {"boxes": np.array([[20, 30, 200, 210]], np.float32), "omit": np.array(["scores"])},
    ]
    sides = [[90], [90, 60], [90], [180]]
    async with service(scheme, kind, engine=engine, detector=detector) as ask:
        single = [await ask("landmarks", IMAGE, **options) for options in chosen]
        batches = [await ask("landmarks_batch", [IMAGE], **options) for options in chosen]
    for answers in (single, [answer for (answer,) in batches]):
        assert [[face.box[2] - face.box[0] for face in answer.faces] for answer in answers] == sides
        assert len(answers[3].faces[0].scores) == 0
    # max_faces=1 chooses among all three faces by their landmarks; here with their mirror images
    crops = [((1, 256, 256, 3), None), ((2, 256, 256, 3), None), ((6, 256, 256, 3), 4), ((1, 256, 256, 3), None)]
    assert [call[:2] for call in engine.calls] == crops * 2


@every_client
@every_api
async def test_a_problem_has_all_its_fields(scheme: str, kind: Any) -> None:
    async with service(scheme, kind) as ask:
        with pytest.raises(ServiceProblem) as caught:
            await ask("landmarks", b"hello", request_id="mine")
    problem = caught.value
    assert (problem.code, problem.title) == ("not_an_image", "The bytes are no image of a known format")
    assert problem.detail.startswith("these bytes are not an image")
    assert (problem.action, problem.request_id) == ("Send JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC.", "mine")
    assert problem.retry_after is None
    assert str(problem) == f"{problem.detail} (not_an_image)"


@every_client
@every_api
async def test_a_batch_has_an_outcome_for_each_image(scheme: str, kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(IMAGE)
    each = [{"topk": 1}, {}, {"boxes": [(9, 9, 1, 1)]}]
    async with service(scheme, kind) as ask:
        outcomes = await ask("landmarks_batch", [str(path), b"hello", path], each=each, boxes=[BOX], request_id="me")
        with pytest.raises(ServiceProblem, match="too_many_images"):
            await ask("landmarks_batch", [IMAGE] * 4)
    first, second, third = outcomes
    assert [face.box_source for face in first.faces] == ["given"]
    assert (second.code, second.request_id, second.title) == ("not_an_image", "me/1", ErrorKind.NOT_AN_IMAGE.title)
    assert third.code == "invalid_box"


@every_client
@every_api
async def test_models_are_described(scheme: str, kind: Any) -> None:
    async with service(scheme, kind) as ask:
        (model,) = await ask("models")
    assert (model.name, model.layout, model.input_size, model.topk) == ("fake", "wflw98", 256, 9)
    assert (model.input_width, model.input_height) == (256, 256)
    assert (model.decoders, model.data, model.crop_scale) == (
        ("topk", "argmax", "quarter", "3x3", "all"),
        ("none",),
        1.25,
    )
    assert model.degrees_of_freedom == MODEL.metadata.degrees_of_freedom


class Flaky(FakeEngine):
    """Rejects the first crops it receives."""

    async def infer(self, crops: Any, *args: Any, **keywords: Any) -> Any:
        self.error = None if self.calls else EngineOverloaded("busy")
        return await super().infer(crops, *args, **keywords)


@every_api
async def test_an_overloaded_service_is_asked_again(scheme: str) -> None:
    engine = Flaky()
    async with service(scheme, AsyncClient, engine=engine) as ask:
        answer = await ask("landmarks", IMAGE, boxes=[BOX])
    assert len(answer.faces) == 1
    assert len(engine.calls) == 2


@every_client
@every_api
async def test_overload_that_outlasts_the_timeout_is_raised(scheme: str, kind: Any) -> None:
    engine = FakeEngine()
    engine.error = EngineOverloaded("busy")
    async with service(scheme, kind, engine=engine) as ask:
        with pytest.raises(ServiceProblem) as caught:
            await ask("landmarks", IMAGE, boxes=[BOX], timeout=0.9)
    # the service asks for a second, which is more than remains
    assert (caught.value.code, caught.value.retry_after, len(engine.calls)) == ("overloaded", 1.0, 1)


@every_client
@every_api
async def test_a_deadline_is_kept(scheme: str, kind: Any) -> None:
    engine = FakeEngine()
    engine.gate = asyncio.Event()
    async with service(scheme, kind, engine=engine) as ask:
        with pytest.raises((NoAnswer, ServiceProblem)) as caught:  # whichever of the two is first
            await ask("landmarks", IMAGE, boxes=[BOX], timeout=0.3)
    assert caught.value.code == "deadline_exceeded"


@every_api
async def test_many_threads_share_a_client(scheme: str) -> None:
    async with service(scheme, Client, max_in_flight=12) as ask:
        answers = await asyncio.gather(*(ask("landmarks", IMAGE, boxes=[BOX]) for _ in range(12)))
    assert {tuple(answer.faces[0].points.ravel()) for answer in answers} == {tuple(answers[0].faces[0].points.ravel())}
    assert len({answer.request_id for answer in answers}) == 12


@every_client
@every_api
async def test_a_refused_connection_is_raised_at_once(scheme: str, kind: Any, unused_port: int) -> None:
    async with asking(kind, f"{scheme}://127.0.0.1:{unused_port}") as ask:
        message = rf"no answer from {scheme}://127\.0\.0\.1:{unused_port}: .*\(no_answer\)"
        with pytest.raises(NoAnswer, match=message):
            await ask("landmarks", IMAGE)


@every_client
async def test_the_port_of_the_other_api_is_reported_at_once_and_not_asked_again(kind: Any) -> None:
    async with (
        open_apis(make_gateway(FakeEngine(), FakeDetector())) as apis,
        asking(kind, f"http://{apis['grpc'].address}") as ask,
    ):
        with pytest.raises(NoAnswer, match="does not speak HTTP") as caught:
            await ask("landmarks", IMAGE)
    assert (caught.value.code, caught.value.retry_after) == ("not_understood", None)
    assert "grpc:// for the gRPC port" in caught.value.action


@every_client
async def test_a_missing_file_is_an_os_error(kind: Any, tmp_path: Path) -> None:
    async with asking(kind, "http://127.0.0.1:1") as ask:
        with pytest.raises(FileNotFoundError):
            await ask("landmarks", tmp_path / "missing.jpg")
