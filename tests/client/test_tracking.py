"""A shot through the Python client, over real sockets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest

from landmarks_client import AsyncClient, Client, ClientUsageError, Frame, LandmarksError, NoAnswer, TrackedFrame
from landmarks_client.pb import landmarks_pb2_grpc
from landmarks_client.tracking import WINDOW
from service.engines.port import EngineOverloaded
from service.rpc.server import build_server
from tests.client.conftest import every_client
from tests.contract.apis import open_apis
from tests.contract.test_tracking import MovingDetector
from tests.fakes import FakeDetector, FakeEngine, encoded, gradient_image, make_gateway

pytestmark = pytest.mark.anyio

IMAGE = encoded(gradient_image())
BOX = (20.0, 30.0, 200.0, 210.0)


@asynccontextmanager
async def served(engine: Any = None, detector: Any = None) -> AsyncIterator[str]:
    gateway = make_gateway(engine or FakeEngine(), detector or FakeDetector((BOX, 0.9)))
    async with open_apis(gateway) as apis:
        yield str(apis["grpc"].address)


async def tracked(
    kind: Any,
    address: str,
    frames: Any,
    each: Callable[[TrackedFrame], Coroutine[Any, Any, None]] | None = None,
    **options: Any,
) -> list[TrackedFrame]:
    """The answers. `each`: called with one of them before the next is asked for."""
    found: list[TrackedFrame] = []
    if kind is AsyncClient:
        async with AsyncClient(f"grpc://{address}") as client:
            async for answer in client.track(frames, **options):
                found.append(answer)
                if each:
                    await each(answer)
        return found
    loop = asyncio.get_running_loop()

    def run() -> None:
        with Client(f"grpc://{address}") as client:
            for answer in client.track(frames, **options):
                found.append(answer)
                if each:
                    asyncio.run_coroutine_threadsafe(each(answer), loop).result()

    await asyncio.to_thread(run)
    return found


@every_client
async def test_a_shot_of_files_and_pixels(kind: Any, tmp_path: Path) -> None:
    pixels = gradient_image(100, 80)
    image = encoded(pixels)
    path = tmp_path / "frame.png"
    path.write_bytes(image)
    frames = [
        path,
        image,
        pixels[:, ::-1][:, ::-1],
        Frame(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), 10),
        Frame((pixels / 255).astype(">f4")),
        b"x",
    ]
    async with served(detector=FakeDetector(((10.0, 10.0, 70.0, 70.0), 0.9))) as address:
        found = await tracked(kind, address, iter(frames), rate=25.0, request_id="mine")
    assert [(answer.number, answer.missing) for answer in found] == [(1, 0), (2, 0), (3, 0), (10, 6), (11, 0), (12, 0)]
    assert [answer.problem and answer.problem.code for answer in found] == [None] * 5 + ["not_an_image"]
    assert found[5].answer is None
    first = found[0].answer
    assert first is not None
    assert first.request_id == "mine/1"
    for answer in found[:5]:
        (face,) = answer.faces
        assert (face.id, face.smoothed.shape, face.smoothed.dtype.name) == (1, (98, 2), "float32")
        np.testing.assert_array_equal(face.face.points, first.faces[0].points)


class Proxy:
    """Passes connections on until they are cut."""

    def __init__(self, target: str) -> None:
        self._host, self._port = target.split(":")
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection(self._host, self._port)
        self._writers += [writer, other_writer]
        await asyncio.gather(copy(reader, other_writer), copy(other_reader, writer))


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


@every_client
async def test_a_stream_whose_connection_is_cut_goes_on_as_if_nothing_had_been(kind: Any) -> None:
    """A service without memory of its own answers the frames; each of them is answered once."""
    async with served() as address, Proxy(address) as proxy:

        async def cut(answer: TrackedFrame) -> None:
            if answer.number in (3, 20):
                proxy.cut()

        found = await tracked(kind, proxy.address, [IMAGE] * 30, cut)
    assert [answer.number for answer in found] == list(range(1, 31))
    assert {(answer.missing, *(face.id for face in answer.faces)) for answer in found} == {(0, 1)}


class SometimesFull(FakeEngine):
    async def infer(self, crops: np.ndarray, **options: Any) -> Any:
        answer = await super().infer(crops, **options)
        if len(self.calls) in (3, 9):
            raise EngineOverloaded("full")
        return answer


@every_client
async def test_a_full_queue_is_asked_again_from_where_the_stream_broke(kind: Any) -> None:
    async with served(SometimesFull()) as address:
        found = await tracked(kind, address, [IMAGE] * 20)
    assert [answer.number for answer in found] == list(range(1, 21))
    assert {face.id for answer in found for face in answer.faces} == {1}


@every_client
async def test_a_stream_that_idles_goes_on_with_the_next_frame(kind: Any) -> None:
    """However long it has idled: the service ends it, and no other is begun before there is a frame."""
    gateway = make_gateway(FakeEngine(), FakeDetector((BOX, 0.9)))
    server, port = build_server(gateway, "127.0.0.1:0", read_timeout=0.3)
    await server.start()
    ended = gateway.metrics._requests.labels("grpc", "grpc", "client_too_slow")

    def frames() -> Iterator[bytes]:
        for number in (1, 2, 3):
            yield IMAGE
            while number < 3 and ended._value.get() < number:
                threading.Event().wait(0.01)

    found = await tracked(kind, f"127.0.0.1:{port}", frames(), timeout=0.2)
    assert [(answer.number, answer.faces[0].id) for answer in found] == [(1, 1), (2, 1), (3, 1)]
    assert ended._value.get() == 2
    await server.stop(None)


@every_client
async def test_a_frame_that_comes_late_delays_no_answer(kind: Any) -> None:
    """As from a camera: each frame here comes once the one before it is answered."""
    answered = asyncio.Queue[int]()
    loop = asyncio.get_running_loop()

    def frames() -> Iterator[bytes]:
        for number in range(1, 4):
            yield IMAGE
            assert asyncio.run_coroutine_threadsafe(answered.get(), loop).result(30) == number

    async def tell(answer: TrackedFrame) -> None:
        await answered.put(answer.number)

    async with served(detector=MovingDetector()) as address:
        found = await tracked(kind, address, frames(), tell)
    assert [answer.number for answer in found] == [1, 2, 3]


async def test_frames_may_be_asynchronous() -> None:
    async def frames() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield IMAGE

    async with served() as address:
        assert len(await tracked(AsyncClient, address, frames())) == 3


@every_client
async def test_what_the_frames_raise_comes_after_the_answers_before(kind: Any) -> None:
    def frames() -> Iterator[bytes]:
        yield IMAGE
        raise OSError("no more film")

    seen = []

    async def note(answer: TrackedFrame) -> None:
        seen.append(answer.number)

    async with served() as address:
        with pytest.raises(OSError, match="no more film"):
            await tracked(kind, address, frames(), note)
    assert seen == [1]


@every_client
async def test_no_more_frames_are_taken_than_wait_for_an_answer(kind: Any) -> None:
    taken = 0

    def frames() -> Iterator[bytes]:
        nonlocal taken
        for taken in range(1, 100):  # noqa: B007
            yield IMAGE

    async with served() as address:
        if kind is Client:

            def run() -> None:
                with Client(f"grpc://{address}") as client:
                    for _ in client.track(frames()):
                        break

            await asyncio.to_thread(run)
        else:
            async with AsyncClient(f"grpc://{address}") as client:
                async for _ in client.track(frames()):
                    break
    assert taken <= 2 * WINDOW


@every_client
async def test_a_server_that_ends_the_stream_before_its_answers_is_not_believed(kind: Any) -> None:
    class Servicer(landmarks_pb2_grpc.LandmarksServicer):
        async def Track(self, request_iterator: Any, context: Any) -> None:  # noqa: N802
            return

    server = grpc.aio.server()
    landmarks_pb2_grpc.add_LandmarksServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with pytest.raises(NoAnswer) as caught:
        await tracked(kind, f"127.0.0.1:{port}", [IMAGE])
    assert caught.value.code == "not_understood"
    await server.stop(None)


@every_client
async def test_a_service_that_does_not_run_is_told_at_once(kind: Any, unused_port: int) -> None:
    with pytest.raises(NoAnswer):
        await tracked(kind, f"127.0.0.1:{unused_port}", [IMAGE], timeout=20)


@every_client
@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (Frame(IMAGE, colour_space="srgb"), "an image file says itself"),
        (np.zeros((4, 4, 3)), "uint8, uint16, float16, float32"),
        (np.zeros(4, np.uint8), "uint8, uint16, float16, float32"),
        (7, "not int"),
        (Frame(IMAGE, 0), "frame 0 comes after frame 1"),
    ],
)
async def test_frames_that_cannot_be_sent(kind: Any, frame: Any, words: str) -> None:
    async with served() as address:
        with pytest.raises(ClientUsageError, match=words):
            await tracked(kind, address, [IMAGE, frame])


async def test_arguments_that_cannot_be_sent() -> None:
    with Client("http://127.0.0.1:1") as rest, pytest.raises(ClientUsageError, match="grpc://"):
        rest.track([IMAGE])
    client = Client("grpc://127.0.0.1:1")
    for options in ({"boxes": [BOX]}, {"topk": "many"}, {"timeout": 0}, {"rate": "fast"}):
        with pytest.raises(ClientUsageError):
            client.track([IMAGE], **options)
    client.close()
    with pytest.raises(ClientUsageError, match="closed"):
        client.track([IMAGE])


@every_client
async def test_a_refused_stream_is_an_error_of_the_service(kind: Any) -> None:
    async with served() as address:
        with pytest.raises(LandmarksError) as caught:
            await tracked(kind, address, [IMAGE], model="another")
    assert caught.value.code == "unknown_model"
