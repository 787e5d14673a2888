"""The search of an image coarse to fine, with detections written by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks.detection import Detections, RgbImage
from landmarks.detector import DetectorSpec
from landmarks.search import HINT_SCORE, Part, Search, in_image, search_scales

SPEC = DetectorSpec(threshold=0.3)

Face = tuple[float, float, float, float]
"""Centre x and y, size, and score, in pixels of an image of 1920 x 1080."""


def picture(width: int = 1920, height: int = 1080) -> RgbImage:
    """Its pixels say where they are: x / 8 in red, y / 8 in green."""
    x, y = np.meshgrid(np.arange(width) / 8, np.arange(height) / 8)
    return np.stack([x, y, np.zeros_like(x)], axis=2).round().astype(np.uint8)


def place_of(pixels: RgbImage) -> tuple[float, float]:
    """Where the middle of a part of `picture` lies, to about eight pixels."""
    return tuple(8 * float(pixels[..., channel].mean()) for channel in (0, 1))  # type: ignore[return-value]


def seen(faces: Sequence[Face], width: int = 1920) -> Callable[[RgbImage, float], Detections]:
    """A detector that sees faces from 8 pixels on, with the score they have from 16 on, and less below."""

    def detect(pixels: RgbImage, scale: float) -> Detections:
        boxes, scores = [], []
        height, width = pixels.shape[:2]
        left, top = (middle * scale - side / 2 for middle, side in zip(place_of(pixels), (width, height), strict=True))
        for x, y, size, score in faces:
            u, v, half = x * scale - left, y * scale - top, size * scale / 2
            if half >= 4 and 0 <= u < width and 0 <= v < height:
                boxes.append([u - half, v - half, u + half, v + half])
                scores.append(score * min(1, (half / 8) ** 2))
        return Detections(np.array(boxes).reshape(-1, 4), np.array(scores))

    return detect


def searched(faces: Sequence[Face], min_face: float | None = None) -> tuple[list[tuple[int, int]], Detections]:
    """Width and height of every part that was searched, and the faces that were found."""
    search, shapes, detect = Search(picture(), SPEC, 2048, min_face), [], seen(faces)
    while (pixels := search.next_part()) is not None:
        shapes.append((pixels.shape[1], pixels.shape[0]))
        whole = {480: 0.25, 960: 0.5, 1920: 1.0}
        # windows have squares of multiples of 64 pixels, whole images do not
        scale = whole.get(pixels.shape[1]) or (0.5 if len(shapes) == 2 else 1.0)
        found = detect(pixels, scale)
        kept = found.scores >= HINT_SCORE
        search.add(Detections(found.boxes[kept], found.scores[kept]))
    return shapes, search.faces()


def test_of_a_portrait_a_quarter_is_searched() -> None:
    shapes, found = searched([(900, 500, 400, 0.9)])
    assert shapes == [(480, 270)]
    np.testing.assert_allclose(found.boxes, [[700, 300, 1100, 700]], atol=8)


def test_where_nothing_is_certain_all_of_it_is_searched() -> None:
    assert searched([])[0] == [(480, 270), (960, 540), (1920, 1080)]
    assert searched([(900, 500, 400, 0.4)])[0] == [(480, 270), (960, 540), (1920, 1080)]


def test_about_a_small_face_beside_a_large_one_a_window_is_searched() -> None:
    """120 pixels are 30 at a quarter of the size, and 60, enough, at half: the window has six times that, about."""
    shapes, found = searched([(500, 500, 400, 0.9), (1500, 300, 120, 0.8)])
    assert shapes == [(480, 270), (384, 384)]
    assert found.scores.tolist() == [0.9, 0.8]
    np.testing.assert_allclose(found.boxes, [[300, 300, 700, 700], [1440, 240, 1560, 360]], atol=10)


def test_a_hint_is_followed_to_the_full_size() -> None:
    """32 pixels are 8 at a quarter of the size, where the face has a quarter of its score."""
    shapes, found = searched([(500, 500, 400, 0.9), (1500, 300, 32, 0.8)])
    assert shapes == [(480, 270), (128, 128), (192, 192)]
    assert found.scores.tolist() == [0.9, 0.8]


def test_a_hint_that_nothing_confirms_is_no_face() -> None:
    shapes, found = searched([(500, 500, 400, 0.9), (1500, 300, 100, 0.2)])
    assert shapes == [(480, 270), (320, 320)]
    assert found.scores.tolist() == [0.9]


def test_a_crowd_is_searched_as_a_whole() -> None:
    faces = [(150.0 * i + 100, 150.0 * j + 100, 60.0, 0.9) for i in range(12) for j in range(6)]
    shapes, found = searched([*faces, (500, 500, 400, 0.9)])
    assert shapes == [(480, 270), (960, 540), (1920, 1080)]
    assert len(found.boxes) >= len(faces) - 9  # the large face suppresses those that it contains


def test_the_smallest_face_that_matters_decides_on_one_search() -> None:
    """64 pixels are 16 at a quarter of the size."""
    faces = [(500.0, 500.0, 400.0, 0.9), (1500.0, 300.0, 70.0, 0.8)]
    assert searched(faces, min_face=64.0)[0] == [(480, 270)]
    assert len(searched(faces, min_face=64.0)[1].boxes) == 2
    assert searched(faces, min_face=1.0)[0] == [(1920, 1080)]


def test_what_a_window_cuts_does_not_count_unless_the_image_ends_there() -> None:
    search = Search(picture(), SPEC, 2048)
    search.next_part()
    # a certain face, and a hint at the top of the image
    search.add(Detections(np.array([[100.0, 100, 200, 200], [390, 0, 410, 20]]), np.array([0.9, 0.2])))
    window = search.next_part()
    assert window is not None
    assert window.shape == (256, 256, 3)
    boxes = np.array([[-5.0, 60, 40, 100], [100, -5, 140, 40], [100, 230, 140, 262], [100, 100, 140, 140]])
    search.add(Detections(boxes, np.array([0.8, 0.7, 0.6, 0.5])))
    assert search.next_part() is None
    assert search.faces().scores.tolist() == [0.9, 0.7, 0.5]


@pytest.mark.parametrize(
    ("longer_side", "max_side", "min_face", "sides"),
    [
        (1920, 2048, None, [480, 960, 1920]),
        (4096, 2048, None, [512, 1024, 2048]),
        (800, 2048, None, [400, 800]),
        (640, 2048, None, [320, 640]),
        (639, 2048, None, [639]),
        (1920, 400, None, [400]),
        (1, 2048, None, [1]),
        # 16 pixels of the searched image
        (1920, 2048, 64.0, [480]),
        (1920, 400, 16.0, [400]),
        (1920, 2048, 1.0, [1920]),
        (1920, 2048, 1e9, [1]),
    ],
)
def test_an_image_is_searched_at_a_quarter_and_half_of_its_size_first(
    longer_side: int, max_side: int, min_face: float | None, sides: list[int]
) -> None:
    scales = search_scales(longer_side, max_side, min_face)
    assert [scale * longer_side for scale in scales] == pytest.approx(sides)


def test_pixel_edges_of_a_part_are_pixel_edges_of_the_image() -> None:
    """A part of 200 x 100 pixels from (40, 20) on, shown in half its size."""
    boxes = np.array([[-0.5, -0.5, 99.5, 49.5], [0.0, 0.0, 1.0, 1.0]])
    shown = np.zeros((50, 100, 3), np.uint8)
    moved = in_image(Detections(boxes, np.ones(2)), shown, Part(40, 20, 240, 120), picture())
    np.testing.assert_allclose(moved.boxes, [[39.5, 19.5, 239.5, 119.5], [40.5, 20.5, 42.5, 22.5]])


@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.lists(st.tuples(st.floats(-0.2, 1.2), st.floats(-0.2, 1.2), st.floats(0, 60), st.floats(0.1, 1)), max_size=9),
    st.sampled_from([64, 400, 2048]),
)
def test_whatever_is_found_the_parts_lie_in_the_image_and_end(
    width: int, height: int, found: list[tuple[float, float, float, float]], max_side: int
) -> None:
    search, parts = Search(np.zeros((height, width, 3), np.uint8), replace(SPEC, threshold=0.1), max_side), 0
    while (pixels := search.next_part()) is not None:
        assert min(pixels.shape[:2]) >= 1
        assert max(pixels.shape[:2]) <= max(max_side, 1)
        parts += 1
        boxes = [
            (
                x * pixels.shape[1] - s / 2,
                y * pixels.shape[0] - s / 2,
                x * pixels.shape[1] + s / 2,
                y * pixels.shape[0] + s / 2,
            )
            for x, y, s, _ in found
        ]
        search.add(Detections(np.array(boxes).reshape(-1, 4), np.array([score for *_, score in found])))
    assert parts <= 1 + 9 + 81
    assert search.next_part() is None
