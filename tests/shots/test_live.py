"""Faces that are followed frame after frame."""

from __future__ import annotations

import numpy as np

from shots.cuts import glance
from shots.live import Followed, State, follow
from shots.records import FoundFace
from shots.smoothing import OneEuro
from tests.shots.test_identity import face, picture

LOOK = glance(picture(0))


def followed(
    *frames: tuple[int, list[FoundFace]], state: State | None = None, looks: dict[int, int] | None = None
) -> list[Followed]:
    """`looks`: the picture of frames that do not show the first."""
    result = []
    for number, faces in frames:
        seed = (looks or {}).get(number)
        result.append(follow(state, number, LOOK if seed is None else glance(picture(seed)), faces, 24.0))
        state = result[-1].state
    return result


def ids(result: list[Followed]) -> list[list[int]]:
    return [[each.id for each in one.faces] for one in result]


def test_numbers_stay_and_are_not_used_again() -> None:
    left, right, third = face(100), face(400), face(700)
    result = followed((1, [left, right]), (2, [right, left]), (3, [right]), (4, [third, right]))
    assert ids(result) == [[1, 2], [2, 1], [2], [3, 2]]


def test_a_gap_is_told_of_the_frames_and_of_the_face() -> None:
    result = followed((1001, [face(100)]), (1002, []), (1006, [face(101)]))
    assert [each.missing for each in result] == [0, 0, 3]
    assert [each.faces[0].gap for each in result if each.faces] == [0, 4]
    assert ids(followed((1, [face(100)]), (40, [face(100)]))) == [[1], [2]]


def test_a_cut_ends_all_faces() -> None:
    result = followed((1, [face(100)]), (2, [face(100)]), looks={2: 1})
    assert ([each.is_cut for each in result], ids(result)) == ([False, True], [[1], [2]])


def test_a_frame_that_cannot_be_read_changes_nothing_but_the_number() -> None:
    first = followed((1, [face(100)]))[0].state
    state = follow(first, 2, None, [], 24.0).state
    assert (state.frame, state.glance is first.glance) == (2, True)
    assert ids(followed((3, [face(100)]), state=state)) == [[1]]


def test_points_are_smoothed_by_the_time_since_the_face_was_found() -> None:
    one_euro = OneEuro()
    expected = [one_euro(face(x).points, seconds) for x, seconds in [(100, 1), (103, 1 / 24), (106, 3 / 24)]]
    result = followed((1, [face(100)]), (2, [face(103)]), (5, [face(106)]))
    for one, points in zip(result, expected, strict=True):
        np.testing.assert_allclose(one.faces[0].smoothed, points, atol=1e-4)
