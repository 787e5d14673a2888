"""The views of faces: turned upright, in square pixels, and back to the picture's own coordinates."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmarks.layout import PointLayout
from service.request import checked_box
from shots.finding import Answer, Box, Finder
from shots.reading.colour import BuiltIn, Shown

LAYOUT = PointLayout(
    "four", ("right", "left", "mouth", "chin"), (1, 0, 2, 3), {"all": (0, 1, 2, 3)}, "box", upright=((0, 1), (2,))
)
SHAPE = np.array([[-30.0, -30.0], [30.0, -30.0], [0.0, 20.0], [0.0, 40.0]])
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))


def picture_of(points: np.ndarray, pixel_aspect: float, width: int = 640, height: int = 480) -> np.ndarray:
    """A grey picture with a round dot of its own colour at each point, as wide as the pixels make it."""
    picture = np.full((height, width, 3), 128, np.uint8)
    for (x, y), colour in zip(points, COLOURS, strict=True):
        centre, axes = (round(x * 16), round(y * 16)), (round(80 / pixel_aspect), 80)  # in sixteenths of a pixel
        cv2.ellipse(picture, centre, axes, 0, 0, 360, colour, -1, cv2.LINE_AA, 4)
    return picture


@dataclass
class Dots:
    """Answers with the middles of the dots that it sees."""

    searched: list[Answer] = field(default_factory=list)
    views: list[tuple[Shown, Box]] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)

    async def __call__(self, image: Shown, box: Box | None) -> list[Answer]:
        if box is None:
            return self.searched
        points = np.array([self.middle(image, np.array(colour)) for colour in COLOURS])
        self.views.append((image, box))
        self.points.append(points)
        return [Answer(0.9, points, np.tile([4.0, 0.0, 1.0], (4, 1)))]

    def middle(self, image: Shown, colour: np.ndarray) -> np.ndarray:
        distance = np.abs(image.astype(float) - colour).max(axis=-1)
        weight = np.clip(1 - distance / 127, 0, 1)
        y, x = np.mgrid[: image.shape[0], : image.shape[1]]
        return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@settings(max_examples=40, deadline=None)
@given(
    roll=st.floats(-math.pi, math.pi),
    size=st.floats(0.8, 1.6),
    middle=st.tuples(st.floats(300, 340), st.floats(220, 260)),
    pixel_aspect=st.sampled_from([0.667, 1.0, 1.5, 2.0]),
    off=st.floats(-6, 6),
)
def test_a_face_is_seen_upright_and_answered_where_it_is(
    roll: float, size: float, middle: tuple[float, float], pixel_aspect: float, off: float
) -> None:
    turn = np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]])
    points = SHAPE * size @ turn / [pixel_aspect, 1.0] + middle
    network = Dots()
    finder = Finder(network, BuiltIn(), LAYOUT, 2048, pixel_aspect)
    face = asyncio.run(finder.look(picture_of(points, pixel_aspect), points + off))
    assert face is not None
    assert face.points == pytest.approx(points, abs=0.4)
    right, left, mouth, _ = network.points[0]
    (x1, y1, x2, y2) = network.views[0][1]
    assert right[1] == pytest.approx(left[1], abs=3)
    assert mouth[0] == pytest.approx((right[0] + left[0]) / 2, abs=3)
    # in square pixels, and in the middle of the box, which is 1.29 times as large as the points
    assert (mouth[1] - right[1]) / (left[0] - right[0]) == pytest.approx(50 / 60, abs=0.05)
    assert x2 - x1 == pytest.approx(y2 - y1)
    assert (x2 - x1) / (left[0] - right[0]) == pytest.approx(1.29 * 70 / 60, rel=0.05)
    # what the network knows worse to the right of the view, it knows worse along the roll of the picture
    xx, xy, yy = face.covariances[0] * [pixel_aspect**2, pixel_aspect, 1.0]
    variances, axes = np.linalg.eigh([[xx, xy], [xy, yy]])
    assert variances[1] / variances[0] == pytest.approx(4, rel=0.02)
    assert abs(axes[:, 1] @ [math.cos(roll), math.sin(roll)]) == pytest.approx(1, abs=0.02)


def test_a_face_that_the_edge_cuts_is_seen_as_it_lies_with_the_edge() -> None:
    points = SHAPE + np.array([40.0, 200.0])
    network = Dots()
    finder = Finder(network, BuiltIn(), LAYOUT, 2048)
    picture = picture_of(points, 1.0)
    picture[:, 0] = (0, 255, 255)
    face = asyncio.run(finder.look(picture, points))
    assert face is not None
    assert face.points == pytest.approx(points, abs=0.3)
    assert (network.views[0][0][:, 0] == (0, 255, 255)).all()
    assert asyncio.run(finder.look(picture, points, only_whole=True)) is None


def test_a_large_picture_is_searched_at_a_smaller_size_and_looked_at_at_its_own() -> None:
    points = SHAPE * 2 + np.array([1200.0, 900.0])
    network = Dots([Answer(0.8, (points + 0.5) / 4 - 0.5, np.ones((4, 3)))])
    (face,) = asyncio.run(
        Finder(network, BuiltIn(), LAYOUT, 600).search(picture_of(points, 1.0, width=2400, height=1800))
    )
    assert face.points == pytest.approx(points, abs=0.2)
    assert face.score == 0.9


@pytest.mark.parametrize("points", [np.zeros((4, 2)), np.full((4, 2), np.nan), np.full((4, 2), 1e300)])
def test_points_that_are_no_face_are_not_looked_at(points: np.ndarray) -> None:
    network = Dots()
    picture = picture_of(SHAPE + 200.0, 1.0)
    assert asyncio.run(Finder(network, BuiltIn(), LAYOUT, 2048).look(picture, points)) is None
    assert network.views == []


@settings(max_examples=200, deadline=None)
@given(
    points=st.lists(st.tuples(st.floats(-400, 500), st.floats(-400, 500)), min_size=4, max_size=4),
    width=st.integers(1, 120),
    height=st.integers(1, 120),
    pixel_aspect=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_whatever_is_looked_at_is_a_box_that_a_service_takes(
    points: list[tuple[float, float]], width: int, height: int, pixel_aspect: float
) -> None:
    async def ask(image: Shown, box: Box | None) -> list[Answer]:
        assert box is not None
        assert image.size > 0
        checked_box(0, box, image.shape[1], image.shape[0])
        return [Answer(0.5, np.zeros((4, 2)), np.ones((4, 3)))]

    finder = Finder(ask, BuiltIn(), LAYOUT, 2048, pixel_aspect)
    asyncio.run(finder.look(np.zeros((height, width, 3), np.uint8), np.array(points)))
