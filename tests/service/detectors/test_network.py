import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bench.cascade import Cascade, square_to_face
from landmarks.detection import Detections
from landmarks.detector import DetectorMetadata, DetectorSpec
from service.deadline import Deadline
from service.detectors.backends import ServedDetector
from service.detectors.network import NetworkDetector
from service.detectors.port import largest_first
from service.detectors.yunet import ThreadedDetector, YuNet
from service.engines.port import EngineError, EngineTimeout, EngineUnavailable
from service.images.pixels import Pixels
from service.request import overlaps
from tests.conftest import ROOT
from tests.fakes import gradient_image

astronaut = pytest.importorskip("skimage.data", reason="scikit-image ships the portrait").astronaut

pytestmark = pytest.mark.anyio

FACE = (170.0, 60.0, 280.0, 200.0)
"""Around the astronaut's face, by eye."""

GOLDEN = (50.0, 30.0, 200.0, 220.0)
SERVED = ServedDetector(DetectorMetadata("fake", DetectorSpec(), "run-1", "c0", ("none",), GOLDEN), "sha256:00")


class FakeBackend:
    """Finds the faces that it is given, whatever the image; fails when it has an error."""

    def __init__(self, *found: tuple[tuple[float, float, float, float], float]) -> None:
        self.found = found
        self.served = SERVED
        self.error: EngineError | None = None
        self.calls: list[tuple[tuple[int, ...], float | None]] = []
        """Shape of the image, and seconds until the deadline."""

    async def identify(self) -> ServedDetector:
        if self.error is not None:
            raise self.error
        return self.served

    async def detect(self, image: Pixels, deadline: Deadline | None) -> Detections:
        self.calls.append((image.shape, None if deadline is None else deadline.remaining()))
        if self.error is not None:
            raise self.error
        boxes = np.array([box for box, _ in self.found], np.float64).reshape(-1, 4)
        return Detections(boxes, np.array([score for _, score in self.found], np.float64))


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


# ---------------------------------------------------------------- the repository's own


async def test_a_large_image_is_reduced_for_the_backend_and_its_boxes_are_in_its_own_pixels(
    executor: ThreadPoolExecutor,
) -> None:
    backend = FakeBackend(((9.5, 19.5, 29.5, 59.5), 0.9), ((-0.5, -0.5, 99.5, 49.5), 0.7))
    detector = NetworkDetector(backend, executor, max_side=100)
    found = await detector.detect(np.zeros((200, 400, 3), np.uint8), deadline=Deadline.after(9.0))
    ((shape, timeout),) = backend.calls
    assert shape == (50, 100, 3)
    assert timeout is not None
    assert 0 < timeout <= 9.0
    # a quarter of the size: pixel edges stay pixel edges, so the box of all pixels stays that; the largest comes first
    np.testing.assert_allclose(found.boxes, [[-0.5, -0.5, 399.5, 199.5], [39.5, 79.5, 119.5, 239.5]])
    assert found.scores.tolist() == [0.7, 0.9]


async def test_a_small_image_is_sent_as_it_is(executor: ThreadPoolExecutor) -> None:
    backend = FakeBackend()
    found = await NetworkDetector(backend, executor, max_side=640).detect(gradient_image(500, 480))
    assert backend.calls == [((480, 500, 3), None)]
    assert found.boxes.shape == (0, 4)


LARGE = (10.0, 10.0, 50.0, 50.0)


@pytest.mark.parametrize(
    ("score", "sides"),
    [
        (0.6, [480]),
        # less than a certain face, so that finer searches may find more
        (0.4, [480, 960, 1920]),
    ],
)
async def test_the_backend_is_asked_coarse_to_fine(
    executor: ThreadPoolExecutor, score: float, sides: list[int]
) -> None:
    backend = FakeBackend((LARGE, score))
    await NetworkDetector(backend, executor).detect(np.zeros((1080, 1920, 3), np.uint8))
    assert [shape[1] for shape, _ in backend.calls] == sides


async def test_hints_are_no_faces(executor: ThreadPoolExecutor) -> None:
    """The specification's threshold is 0.5."""
    other = (100.0, 10.0, 140.0, 50.0)
    backend = FakeBackend((LARGE, 0.9), (other, 0.49))
    found = await NetworkDetector(backend, executor).detect(np.zeros((100, 200, 3), np.uint8))
    np.testing.assert_array_equal(found.boxes, [LARGE])


async def test_of_the_smallest_face_asked_for_one_search_follows(executor: ThreadPoolExecutor) -> None:
    """64 pixels are 16 in the image at a quarter of its size, where faces of 16 pixels and more are found."""
    backend = FakeBackend(((10.0, 10.0, 26.0, 26.0), 0.9), ((40.0, 10.0, 55.9, 26.0), 0.9))
    found = await NetworkDetector(backend, executor).detect(np.zeros((600, 400, 3), np.uint8), min_face=64.0)
    assert [shape for shape, _ in backend.calls] == [(150, 100, 3)]
    np.testing.assert_allclose(found.boxes, [[41.5, 41.5, 105.5, 105.5]])


async def test_the_backends_errors_are_raised(executor: ThreadPoolExecutor) -> None:
    backend = FakeBackend()
    backend.error = EngineTimeout("too late")
    with pytest.raises(EngineTimeout):
        await NetworkDetector(backend, executor).detect(gradient_image())


async def test_the_wait_for_the_golden_face_is_limited(executor: ThreadPoolExecutor) -> None:
    backend = FakeBackend((GOLDEN, 0.9))
    assert await NetworkDetector(backend, executor).ready()
    ((_, timeout),) = backend.calls
    assert timeout is not None
    assert 0 < timeout <= 10


async def test_ready_once_the_golden_face_is_found_where_it_was_at_export(executor: ThreadPoolExecutor) -> None:
    backend = FakeBackend((GOLDEN, 0.9))
    detector = NetworkDetector(backend, executor)
    assert await detector.ready()
    backend.error = EngineUnavailable("gone")
    assert not await detector.ready()
    backend.error = None
    assert await detector.ready()
    # a network that was verified is not verified again, only one that takes its place
    backend.found = ()
    assert await detector.ready()
    backend.served = SERVED._replace(provenance="sha256:01")
    assert not await detector.ready()


@pytest.mark.parametrize(("box", "expected"), [((50.05, 30.0, 200.0, 220.0), True), ((50.2, 30, 200, 220), False)])
async def test_the_golden_face_may_lie_a_twentieth_of_a_pixel_off(
    executor: ThreadPoolExecutor, box: tuple[float, float, float, float], expected: bool
) -> None:
    assert await NetworkDetector(FakeBackend((box, 0.9)), executor).ready() == expected


# ---------------------------------------------------------------- YuNet


@pytest.fixture(scope="module")
def yunet() -> YuNet:
    path = Path(os.environ.get("LANDMARKS_YUNET_PATH", ROOT.parent / "shared/models/face_detection_yunet_2023mar.onnx"))
    if not path.is_file():
        pytest.skip(f"no YuNet at {path}: set LANDMARKS_YUNET_PATH")
    return YuNet(path)


def check_astronaut(find: Callable[[NDArray[np.uint8]], Detections], scale: float) -> None:
    image = np.asarray(cv2.resize(astronaut(), None, fx=scale, fy=scale), np.uint8)
    boxes, scores = find(image)
    x1, y1, x2, y2 = boxes[0] / scale
    assert FACE[0] < (x1 + x2) / 2 < FACE[2]
    assert FACE[1] < (y1 + y2) / 2 < FACE[3]
    assert 60 < x2 - x1 < 130
    assert 0.4 < scores[0] <= 1


@pytest.mark.parametrize("scale", [1, 4])
def test_yunet_finds_the_astronaut_at_any_size(yunet: YuNet, scale: float) -> None:
    check_astronaut(yunet, scale)


def test_yunet_gives_nothing_for_tiny_images(yunet: YuNet) -> None:
    """With an image of another size between them, after which OpenCV sometimes found faces in them."""
    for image in (
        gradient_image(1, 1),
        astronaut(),
        gradient_image(3, 500),
        gradient_image(500, 9),
        gradient_image(2000, 20),
    ):
        assert (len(yunet(image).boxes) > 0) == (image.shape[:2] == (512, 512))


async def test_yunet_may_be_called_from_several_threads(yunet: YuNet, executor: ThreadPoolExecutor) -> None:
    detector = ThreadedDetector(yunet, executor)
    assert await detector.ready()
    answers = await asyncio.gather(*(detector.detect(astronaut()) for _ in range(8)))
    for answer in answers:
        np.testing.assert_array_equal(answer.boxes, answers[0].boxes)


def test_a_missing_yunet_file_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no YuNet file"):
        YuNet(tmp_path / "none.onnx")


# ---------------------------------------------------------------- the cascade, which is only compared with


def test_the_cascade_finds_the_astronaut_at_any_size() -> None:
    for scale in (1, 4):
        check_astronaut(Cascade(), scale)


def test_a_square_becomes_a_box_by_hand() -> None:
    # the square of pixels 0 to 99 is centred on 49.5; 0.835 of it wide, 1.107 high, 0.012 lower
    np.testing.assert_allclose(square_to_face(np.array([[0.0, 0, 100, 100]])), [[7.75, -4.65, 91.25, 106.05]])


# ---------------------------------------------------------------- shared


def test_the_largest_comes_first_and_ties_have_an_order() -> None:
    boxes = np.array([[5.0, 0, 6, 1], [0, 0, 1, 1], [0, 0, 2, 2], [3, 0, 4, 1]])
    ordered = largest_first(Detections(boxes, np.array([0.5, 0.5, 0.1, 0.9])))
    assert ordered.boxes[:, 0].tolist() == [0, 3, 0, 5]
    assert ordered.scores.tolist() == [0.1, 0.9, 0.5, 0.5]


def test_overlap_counts_pixels_to_their_edges() -> None:
    assert overlaps(np.array([9.4, 0, 20, 5]), 10, 10)
    assert not overlaps(np.array([9.5, 0, 20, 5]), 10, 10)
    assert not overlaps(np.array([-9, 0, -0.5, 5]), 10, 10)
