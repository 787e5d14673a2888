"""Segments of a shot: which frames are searched, and which are followed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmarks.layout import PointLayout
from shots.finding import Answer, Box, Finder
from shots.reading.colour import BuiltIn, Shown
from shots.reading.picture import Picture
from shots.records import Record, record_line
from shots.run import Run
from shots.tracks import Plate, ShotFrame

STEP = (3, 1)
"""Pixels by which all of the picture moves from one frame to the next."""
FACE = np.array([60.0, 50.0, 120.0, 110.0])
"""The box in frame 0."""
NINE = PointLayout("nine", tuple("abcdefghi"), tuple(range(9)), {"all": tuple(range(9))}, "box")
INTERVAL = 6


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8)
    return cv2.resize(noise, (400, 300), interpolation=cv2.INTER_CUBIC)


@dataclass
class Shot:
    """A source of made frames; the first pixel of each tells its number."""

    count: int = 12
    missing: frozenset[int] = frozenset()
    cut: int | None = None
    """The first frame of another take."""

    plate = Plate("made", "made", 260, 200, 1.0, None)

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(range(self.count))

    def frames(self, is_wanted: Callable[[int], bool]) -> Iterator[tuple[ShotFrame, Picture | None]]:
        for number in filter(is_wanted, self.numbers):
            if number in self.missing:
                yield ShotFrame(number, None, state="missing"), None
                continue
            canvas = texture(int(self.cut is not None and number >= self.cut))
            x, y = 80 - STEP[0] * number, 60 - STEP[1] * number
            image = canvas[y : y + 200, x : x + 260].copy()
            image[0, 0] = number
            yield ShotFrame(number, None), Picture(image)


@dataclass
class Network:
    """Finds faces in every frame; their points are a grid, about which a view's box is the one that was asked about."""

    boxes: Callable[[int], list[np.ndarray]] = lambda number: [FACE + np.tile(STEP, 2) * number]
    score: Callable[[int], float] = lambda _: 0.9
    """Of the so-manieth view."""
    searched: list[int] = field(default_factory=list)
    views: int = 0

    async def __call__(self, image: Shown, box: Box | None) -> list[Answer]:
        if box is not None:
            self.views += 1
            return [self.face(np.array(box), self.score(self.views))]
        number = int(image[0, 0, 0])
        self.searched.append(number)
        return [self.face(each, 0.9) for each in self.boxes(number)]

    def face(self, box: np.ndarray, score: float) -> Answer:
        side = box[2] - box[0]
        centre = box.reshape(2, 2).mean(axis=0) + np.array([0, 0.13 * side])
        points = centre + np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), axis=-1).reshape(-1, 2) * side / 1.29 / 2
        return Answer(score, points, np.tile([1.0, 0.0, 1.0], (len(points), 1)))


def records(shot: Shot, network: Network, wanted: Callable[[int], bool] = lambda _: True) -> list[Record]:
    run = Run(shot, Finder(network, BuiltIn(), NINE, search_size=512), search_interval=INTERVAL)

    async def collect() -> list[Record]:
        return [record async for record in run.records(wanted)]

    return asyncio.run(collect())


def test_faces_are_followed_between_the_ends_of_a_segment() -> None:
    network = Network()
    found = records(Shot(12), network)
    assert sorted(network.searched) == [0, 6, 11]
    assert network.views == 12
    for record in found:
        (face,) = record.faces
        assert face.box == pytest.approx(FACE + np.tile(STEP, 2) * record.frame.number, abs=0.3)
    assert found[0].flow is None
    assert all(record.flow is not None for record in found[1:])


def test_where_there_are_no_faces_nothing_is_followed() -> None:
    network = Network(lambda _: [])
    assert not any(record.faces for record in records(Shot(6), network))
    assert (network.searched, network.views) == ([0, 5], 0)


def other(number: int) -> list[np.ndarray]:
    """From frame 4 on there is a second face."""
    first = FACE + np.tile(STEP, 2) * number
    return [first, first + np.array([70, 20, 70, 20])] if number >= 4 else [first]


@pytest.mark.parametrize(
    ("shot", "network"),
    [
        (Shot(6), Network(other)),
        (Shot(6), Network(lambda number: [] if number >= 3 else Network().boxes(number))),
        (Shot(6), Network(score=lambda call: 0.4 if call == 3 else 0.9)),
        (Shot(6), Network(lambda _: [np.array([150.0, 60.0, 259.5, 169.5])])),
        (Shot(6, cut=2), Network()),
        (Shot(6, missing=frozenset({3})), Network()),
    ],
    ids=["a face comes", "a face goes", "a face is not seen well", "the image cuts a face", "a cut", "a missing frame"],
)
def test_else_each_frame_is_searched(shot: Shot, network: Network) -> None:
    found = records(shot, network)
    read = [number for number in range(6) if number not in shot.missing]
    assert sorted(network.searched) == read
    for record in found:
        expected = network.boxes(record.frame.number) if record.frame.number in read else []
        assert len(record.faces) == len(expected)
        for face, box in zip(record.faces, expected, strict=True):
            assert face.box == pytest.approx(box, abs=0.05)


def test_a_segment_with_an_unreadable_end_is_searched() -> None:
    network = Network()
    records(Shot(6, missing=frozenset({5})), network)
    assert sorted(network.searched) == [0, 1, 2, 3, 4]


def test_the_frame_before_a_cut_is_not_followed_into_it() -> None:
    found = records(Shot(12, cut=6), Network())
    assert [record.frame.number for record in found if record.frame.is_cut] == [6]
    assert found[6].flow is None


@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(1, 20),
    missing=st.frozensets(st.integers(0, 19), max_size=2),
    first=st.integers(0, 19),
    length=st.integers(1, 8),
)
def test_a_part_has_the_records_of_the_whole(count: int, missing: frozenset[int], first: int, length: int) -> None:
    shot = Shot(count, missing)
    part = range(first, first + length)
    whole = [record_line(record) for record in records(shot, Network(other)) if record.frame.number in part]
    assert [record_line(record) for record in records(shot, Network(other), lambda number: number in part)] == whole


def test_the_first_error_ends_the_run() -> None:
    class Failing(Network):
        async def __call__(self, image: Shown, box: Box | None) -> list[Answer]:
            if box is not None:
                raise RuntimeError("the service is gone")
            return await super().__call__(image, box)

    run: Any = Failing()
    with pytest.raises(RuntimeError, match="is gone"):
        records(Shot(12), run)
