"""Two models in landmark space: the number by hand, and what is not compared."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from landmarks.layout import WFLW98
from service.answer import Face, Region, Role
from service.engines.port import EngineFailure
from service.rollout.shadow import Comparison, distance


def points(dx: float = 0.0, dy: float = 0.0, size: float = 1.0) -> NDArray[np.float32]:
    """Point i at (i, 2 i), moved: points 60 and 72, the outer corners of the eyes, are (12, 24) apart."""
    index = size * np.arange(98, dtype=np.float32)
    return np.stack([index + dx, 2 * index + dy], axis=1).astype(np.float32)


def face(dx: float = 0.0, dy: float = 0.0) -> Face:
    region = Region(np.zeros(4, np.float32), "given", None)
    empty = np.zeros((98, 3), np.float32)
    return Face(region, points(dx, dy), empty[:, 0], empty, np.float32(1), np.float32(1))


FACES, OTHERS = (face(),), (face(3, 4),)


def test_the_distance_is_the_mean_over_the_points_by_the_primarys_inter_ocular() -> None:
    assert distance(points(), points(), WFLW98) == 0
    assert distance(points(), points(3, 4), WFLW98) == pytest.approx(5 / math.sqrt(720))
    one = points()
    one[7] += (0, 98)
    assert distance(points(), one, WFLW98) == pytest.approx(1 / math.sqrt(720))
    # twice the size: every point i is sqrt(5) i away; 48.5 is the mean of 0 to 97
    assert distance(points(), points(size=2), WFLW98) == pytest.approx(math.sqrt(5) * 48.5 / math.sqrt(720))
    assert distance(points(size=2), points(), WFLW98) == pytest.approx(math.sqrt(5) * 48.5 / math.sqrt(4 * 720))
    assert math.isfinite(distance(np.zeros((98, 2), np.float32), points(), WFLW98))


class Told:
    """What a comparison has told."""

    def __init__(self, share: float = 1.0, draw: float = 0.5) -> None:
        self.distances: list[float] = []
        self.dropped: list[str] = []
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.comparison = Comparison(share, self.distances.append, self.dropped.append, lambda: draw)

    def offer(self, role: Role = "primary", faces: Sequence[Face] = FACES, other: Any = OTHERS) -> None:
        async def ask_other() -> Sequence[Face]:
            self.asked += 1
            await self.gate.wait()
            if isinstance(other, Exception):
                raise other
            answer: Sequence[Face] = other
            return answer

        self.comparison.offer(role, faces, ask_other, WFLW98)


def test_every_face_is_compared_whoever_answered() -> None:
    async def run() -> Told:
        told = Told()
        told.offer(faces=(face(), face(1, 1)), other=(face(3, 4), face(1, 1)))
        told.offer("candidate", faces=(face(3, 4),), other=(face(),))
        await told.comparison.settled()
        return told

    told = asyncio.run(run())
    assert sorted(told.distances) == pytest.approx([0, 5 / math.sqrt(720), 5 / math.sqrt(720)])
    assert told.dropped == []


@pytest.mark.parametrize(("share", "draw", "asked"), [(0, 0, 0), (0.5, 0.49, 1), (0.5, 0.5, 0), (1, 0.999, 1)])
def test_a_share_is_compared(share: float, draw: float, asked: int) -> None:
    async def run() -> Told:
        told = Told(share, draw)
        told.offer()
        await told.comparison.settled()
        return told

    told = asyncio.run(run())
    assert (told.asked, len(told.distances), told.dropped) == (asked, asked, [])


def test_without_a_face_nothing_is_asked() -> None:
    told = Told()
    told.offer(faces=())
    assert (told.asked, told.dropped) == (0, [])


def test_a_few_at_a_time_and_the_rest_is_dropped() -> None:
    async def run() -> Told:
        told = Told()
        told.gate.clear()
        for _ in range(5):
            told.offer()
        assert told.dropped == ["busy"] * 3
        told.gate.set()
        await told.comparison.settled()
        told.offer()  # there is room again
        await told.comparison.settled()
        return told

    told = asyncio.run(run())
    assert len(told.distances) == 3
    assert told.dropped == ["busy"] * 3


@pytest.mark.parametrize("error", [EngineFailure("broken"), RuntimeError("unforeseen"), asyncio.TimeoutError()])
def test_a_failure_is_counted_and_ends_nothing(error: Exception) -> None:
    async def run() -> Told:
        told = Told()
        told.offer(other=error)
        await told.comparison.settled()
        return told

    told = asyncio.run(run())
    assert (told.distances, told.dropped) == ([], ["failed"])


def test_closing_gives_up_what_is_being_compared() -> None:
    async def run() -> Told:
        told = Told()
        told.gate.clear()
        told.offer()
        await told.comparison.close()
        await told.comparison.close()
        return told

    assert asyncio.run(run()).distances == []
