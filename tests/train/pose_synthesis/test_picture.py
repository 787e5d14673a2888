"""Turned photographs of a head whose right half is red and whose left half is blue."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from landmarks.layout import WFLW98
from tests.train.pose_synthesis.known import KnownHead, far_jaw
from train.pose_synthesis.head import Head, head_of
from train.pose_synthesis.picture import Seen, look, turn, visible

SIZE = 400
Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def head(plain: KnownHead) -> Head:
    return head_of(plain.model, plain.points(plain.pose))


@pytest.fixture(scope="module")
def seen(plain: KnownHead, head: Head) -> Seen:
    return look(plain.photograph(), head)


def colour_at(picture: Picture, points: np.ndarray) -> np.ndarray:
    x, y = points.round().astype(int).T
    return picture[y, x].astype(int)


def test_no_turn_gives_the_photograph_again(plain: KnownHead, head: Head, seen: Seen) -> None:
    picture, _ = turn(seen, head.pose, 380)
    photograph = plain.photograph()[:380].astype(int)
    points = plain.points(plain.pose).astype(int)
    (left, top), (right, bottom) = points.min(axis=0) + 5, points.max(axis=0) - 5
    difference = abs(picture.astype(int) - photograph)[top:bottom, left:right]
    assert difference.mean() < 2
    assert abs(picture.astype(int) - photograph).mean() < 6


@pytest.mark.parametrize(("yaw", "near", "hue"), [(60, 60, "red"), (-60, 72, "blue")])
def test_the_near_side_shows_its_own_colour(head: Head, seen: Seen, yaw: float, near: int, hue: str) -> None:
    """Yaw 60: looks to the picture's right, the subject's right eye (60) in front. Yaw -60: the left one (72)."""
    pose = head.at(yaw, 0)
    picture, _ = turn(seen, pose, SIZE)
    red, _, blue = colour_at(picture, head.carried(pose).points[[near]])[0]
    assert (red - blue > 100) if hue == "red" else (blue - red > 100)


def test_the_skin_moves_with_the_points(plain: KnownHead, head: Head, seen: Seen) -> None:
    """Every visible point has the colour that the photograph has at that point."""
    pose = head.at(45, 5)
    picture, depth = turn(seen, pose, SIZE)
    carried = head.carried(pose)
    inner = [i for i in np.flatnonzero(visible(carried, depth)) if i > 32]
    assert len(inner) > 40
    here = colour_at(picture, carried.points[inner])
    there = colour_at(plain.photograph(), plain.points(plain.pose)[inner])
    assert np.median(abs(here - there).max(axis=1)) < 10


def test_at_a_quarter_turn_the_far_half_is_hidden(head: Head, seen: Seen) -> None:
    pose = head.at(90, 0)
    _, depth = turn(seen, pose, SIZE)
    shown = visible(head.carried(pose), depth)
    assert shown[60:68].sum() >= 6  # the near eye, but for its corner
    assert not shown[68:76].any()
    assert shown[2:14].all()  # the near half of the contour


@pytest.mark.parametrize(("yaw", "side"), [(40, 1), (-40, -1)])
def test_the_far_cheeks_contour_is_seen(head: Head, seen: Seen, yaw: float, side: int) -> None:
    pose = head.at(yaw, 0)
    _, depth = turn(seen, pose, SIZE)
    assert visible(head.carried(pose), depth)[far_jaw(side)].all()


def test_the_mirrored_photograph_gives_the_mirrored_picture(plain: KnownHead, head: Head, seen: Seen) -> None:
    annotated = plain.points(plain.pose)[list(WFLW98.flip)] * [-1, 1] + [379, 0]
    other = head_of(plain.model, annotated)
    mirrored = look(np.ascontiguousarray(plain.photograph()[:, ::-1]), other)
    pose = head.at(40, 0)
    ours, _ = turn(seen, pose, 380)
    theirs, _ = turn(mirrored, other.at(-40, 0), 380)
    assert abs(ours[:, ::-1].astype(int) - theirs).mean() < 4


def test_a_half_that_the_photograph_hides_is_taken_from_the_other(plain: KnownHead) -> None:
    """Seen from its right (red) side, the head shows no blue; turned to its left it has a left cheek all the same."""
    known = KnownHead(plain.model, plain.vertices, plain.at(60, 0))
    head = head_of(known.model, known.points(known.pose))
    pose = head.at(-50, 0)
    picture, _ = turn(look(known.photograph(), head), pose, SIZE)
    red, _, blue = colour_at(picture, head.carried(pose).points[[28, 72, 82]]).mean(axis=0)
    assert red - blue > 50


def test_beyond_the_photograph_nothing_is_sharp(plain: KnownHead) -> None:
    """A photograph that ends at the eyebrows, all stripes two pixels wide, turned by nothing and moved 100 down."""
    points = plain.points(plain.pose)
    brows = int(points[:, 1].min())
    photograph = np.zeros((400 - brows, 380, 3), np.uint8)
    photograph[:, ::4] = photograph[:, 1::4] = 255
    head = head_of(plain.model, points - [0, brows])
    picture, _ = turn(look(photograph, head), replace(head.pose, shift=head.pose.shift + np.array([0, 100])), SIZE)
    steps = abs(np.diff(picture[..., 0].astype(int)))
    assert steps[:60, 20:360].max() < 30
    assert steps[200, 120:260].max() > 100
