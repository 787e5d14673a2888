"""The same face in changed pictures: where its points and its box are then."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.train.miniature import drawn_shape
from train.datasets.face import AnnotatedFace
from train.datasets.image import ArrayImage, read_image
from train.samples.variants import blinking, cut, filling, squeezed, turned

BOX = np.array([100.0, 80.0, 220.0, 240.0])


def marked(points: np.ndarray) -> AnnotatedFace:
    """A face with a white disc at each of its points."""
    image = np.zeros((320, 320, 3), np.uint8)
    for x, y in np.round(points).astype(int).tolist():
        cv2.circle(image, (x, y), 3, (255, 255, 255), cv2.FILLED)
    return AnnotatedFace(ArrayImage("marked.png", image), points.astype(np.float64), BOX)


THREE = marked(np.array([[120, 120], [200, 120], [160, 220]]))


def brightness(face: AnnotatedFace) -> list[float]:
    """Of the picture at each point."""
    columns, rows = np.round(face.points).astype(int).T
    return read_image(face.image)[rows, columns, 0].tolist()


@pytest.mark.parametrize("degrees", [0, 30, 90, 180, -120])
def test_the_points_of_a_turned_picture_are_where_it_shows_them(degrees: float) -> None:
    face = turned(THREE, degrees)
    assert min(brightness(face)) > 200
    assert np.ptp(face.box.reshape(2, 2), axis=0) == pytest.approx([120, 160])
    height, width = read_image(face.image).shape[:2]
    assert face.box.reshape(2, 2).mean(axis=0) == pytest.approx([(width - 1) / 2, (height - 1) / 2])


def test_a_picture_is_turned_clockwise() -> None:
    first, second, third = turned(THREE, 90).points
    # what was above is on the right
    assert first[0] == pytest.approx(second[0])
    assert third[0] < first[0]
    assert first[1] < second[1]


@pytest.mark.parametrize(("x", "y"), [(0.5, 1.0), (1.0, 0.5), (0.6, 1.0)])
def test_the_points_of_a_squeezed_picture_are_where_it_shows_them(x: float, y: float) -> None:
    face = squeezed(THREE, x, y)
    assert min(brightness(face)) > 120
    assert np.ptp(face.points, axis=0) == pytest.approx([80 * x, 100 * y])
    assert np.ptp(face.box.reshape(2, 2), axis=0) == pytest.approx([120 * x, 160 * y])


def test_a_face_that_fills_the_frame_and_more() -> None:
    half, more = filling(THREE, 0.5), filling(THREE, 1.25)
    assert read_image(half.image).shape[:2] == (320, 320)
    assert half.box.tolist() == BOX.tolist()
    assert read_image(more.image).shape[:2] == (128, 128)
    assert more.box.tolist() == [4, 0, 124, 127]  # 16 pixels are cut off above and below
    assert more.points.tolist() == (THREE.points - [96, 96]).tolist()


@pytest.mark.parametrize(
    ("edge", "box"),
    [
        ("left", [0, 80, 90, 240]),
        ("top", [100, 0, 220, 120]),
        ("right", [100, 80, 189, 240]),
        ("bottom", [100, 80, 220, 199]),
    ],
)
def test_an_edge_cuts_a_quarter_of_the_box_off(edge: str, box: list[float]) -> None:
    face = cut(THREE, 0.25, edge)
    assert face.box.tolist() == box
    moved = {"left": [-130, 0], "top": [0, -120]}.get(edge, [0, 0])
    assert face.points.tolist() == (THREE.points + moved).tolist()


def test_in_a_blink_the_lids_meet_and_nothing_else_moves() -> None:
    face = marked(drawn_shape() * 80 + 160)
    closed = blinking(face)
    before, after = read_image(face.image).astype(int), read_image(closed.image).astype(int)
    for upper, lower in ((62, 66), (70, 74)):
        assert closed.points[upper] == pytest.approx(closed.points[lower])
        assert face.points[upper, 1] < closed.points[upper, 1] < face.points[lower, 1]
    others = [*range(60), *range(76, 98)]
    assert np.array_equal(closed.points[others], face.points[others])
    columns, rows = np.round(face.points).astype(int).T
    assert (after[rows, columns][[*range(33), *range(51, 60), *range(76, 96)], 0] == 255).all()
    changed = np.argwhere((before != after).any(axis=2))[:, ::-1]
    eyes = face.points[60:76]
    assert (changed.min(axis=0) > eyes.min(axis=0) - 12).all()
    assert (changed.max(axis=0) < eyes.max(axis=0) + 12).all()
    # the upper lid's disc is seen where the lids meet
    x, y = np.round(closed.points[62]).astype(int)
    assert after[y - 1 : y + 2, x, 0].max() > 120
