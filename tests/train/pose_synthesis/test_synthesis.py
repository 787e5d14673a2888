"""Synthesized images of a head whose right half is red and whose left half is blue."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from landmarks.layout import WFLW98
from tests.train.pose_synthesis.known import KnownHead, far_jaw
from train.pose_synthesis.head import Head, fit_head
from train.pose_synthesis.synthesis import ObservedHead, observe, synthesize, visible

SIZE = 400
Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def head(plain: KnownHead) -> Head:
    return fit_head(plain.model, plain.points(plain.pose))


@pytest.fixture(scope="module")
def observed(plain: KnownHead, head: Head) -> ObservedHead:
    return observe(plain.image(), head)


def color_at(image: Image, points: np.ndarray) -> np.ndarray:
    x, y = points.round().astype(int).T
    return image[y, x].astype(int)


def test_no_rotation_gives_the_original_again(plain: KnownHead, head: Head, observed: ObservedHead) -> None:
    image, _ = synthesize(observed, head.pose, 380)
    original = plain.image()[:380].astype(int)
    points = plain.points(plain.pose).astype(int)
    (left, top), (right, bottom) = points.min(axis=0) + 5, points.max(axis=0) - 5
    difference = abs(image.astype(int) - original)[top:bottom, left:right]
    assert difference.mean() < 2
    assert abs(image.astype(int) - original).mean() < 6


@pytest.mark.parametrize(("yaw", "near", "hue"), [(60, 60, "red"), (-60, 72, "blue")])
def test_the_near_side_shows_its_own_color(head: Head, observed: ObservedHead, yaw: float, near: int, hue: str) -> None:
    """Yaw 60: looks to the image's right, the subject's right eye (60) in front. Yaw -60: the left one (72)."""
    pose = head.pose_at(yaw, 0)
    image, _ = synthesize(observed, pose, SIZE)
    red, _, blue = color_at(image, head.posed_points(pose).points[[near]])[0]
    assert (red - blue > 100) if hue == "red" else (blue - red > 100)


def test_the_skin_moves_with_the_points(plain: KnownHead, head: Head, observed: ObservedHead) -> None:
    """Every visible point has the color that the original has at that point."""
    pose = head.pose_at(45, 5)
    image, depth = synthesize(observed, pose, SIZE)
    posed = head.posed_points(pose)
    inner = [i for i in np.flatnonzero(visible(posed, depth)) if i > 32]
    assert len(inner) > 40
    here = color_at(image, posed.points[inner])
    there = color_at(plain.image(), plain.points(plain.pose)[inner])
    assert np.median(abs(here - there).max(axis=1)) < 10


def test_at_ninety_degrees_the_far_half_is_hidden(head: Head, observed: ObservedHead) -> None:
    pose = head.pose_at(90, 0)
    _, depth = synthesize(observed, pose, SIZE)
    shown = visible(head.posed_points(pose), depth)
    assert shown[60:68].sum() >= 6  # the near eye, but for its corner
    assert not shown[68:76].any()
    assert shown[2:14].all()  # the near half of the contour


@pytest.mark.parametrize(("yaw", "side"), [(40, 1), (-40, -1)])
def test_the_far_cheeks_contour_is_seen(head: Head, observed: ObservedHead, yaw: float, side: int) -> None:
    pose = head.pose_at(yaw, 0)
    _, depth = synthesize(observed, pose, SIZE)
    assert visible(head.posed_points(pose), depth)[far_jaw(side)].all()


def test_the_mirrored_original_gives_the_mirrored_image(plain: KnownHead, head: Head, observed: ObservedHead) -> None:
    annotated = plain.points(plain.pose)[list(WFLW98.flip)] * [-1, 1] + [379, 0]
    other = fit_head(plain.model, annotated)
    mirrored = observe(np.ascontiguousarray(plain.image()[:, ::-1]), other)
    pose = head.pose_at(40, 0)
    ours, _ = synthesize(observed, pose, 380)
    theirs, _ = synthesize(mirrored, other.pose_at(-40, 0), 380)
    assert abs(ours[:, ::-1].astype(int) - theirs).mean() < 4


def test_a_half_that_the_original_hides_is_taken_from_the_other(plain: KnownHead) -> None:
    """Seen from its right (red) side, the head shows no blue; rotated to its left it has a left cheek all the same."""
    known = KnownHead(plain.model, plain.vertices, plain.pose_at(60, 0))
    head = fit_head(known.model, known.points(known.pose))
    pose = head.pose_at(-50, 0)
    image, _ = synthesize(observe(known.image(), head), pose, SIZE)
    red, _, blue = color_at(image, head.posed_points(pose).points[[28, 72, 82]]).mean(axis=0)
    assert red - blue > 50


def test_beyond_the_original_nothing_is_sharp(plain: KnownHead) -> None:
    """An original that ends at the eyebrows, all stripes two pixels wide, not rotated and moved 100 down."""
    points = plain.points(plain.pose)
    brows = int(points[:, 1].min())
    original = np.zeros((400 - brows, 380, 3), np.uint8)
    original[:, ::4] = original[:, 1::4] = 255
    head = fit_head(plain.model, points - [0, brows])
    image, _ = synthesize(observe(original, head), replace(head.pose, shift=head.pose.shift + np.array([0, 100])), SIZE)
    steps = abs(np.diff(image[..., 0].astype(int)))
    assert steps[:60, 20:360].max() < 30
    assert steps[200, 120:260].max() > 100
