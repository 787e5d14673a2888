"""The layouts, against pairs and groups written here by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from landmarks.layout import WFLW98, PointLayout
from train.datasets.layouts import AFLW19, COCO17, COFW29, IBUG68, IBUG68_IN_WFLW98, MPII16
from train.datasets.registry import LAYOUTS


@pytest.mark.parametrize(
    ("layout", "points", "norm"),
    [
        (WFLW98, 98, "inter_ocular"),
        (IBUG68, 68, "inter_ocular"),
        (COFW29, 29, "inter_ocular"),
        (AFLW19, 19, "box"),
        (COCO17, 17, "size"),
        (MPII16, 16, "size"),
    ],
)
def test_points_and_normalisation(layout: PointLayout, points: int, norm: str) -> None:
    assert (layout.points, layout.norm) == (points, norm)
    assert LAYOUTS[layout.name] is layout


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_mirroring_twice_changes_nothing(layout: PointLayout) -> None:
    assert [layout.flip[i] for i in layout.flip] == list(range(layout.points))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_groups_are_disjoint_and_cover_the_layout(layout: PointLayout) -> None:
    members = [point for group in layout.groups.values() for point in group]
    assert sorted(members) == list(range(layout.points))


@pytest.mark.parametrize("layout", [WFLW98, IBUG68, COFW29], ids=lambda layout: layout.name)
def test_the_eyes_of_a_normalisation_are_a_pair(layout: PointLayout) -> None:
    assert layout.outer_eye_corners is not None
    assert layout.pupils is not None
    right, left = layout.outer_eye_corners
    assert layout.flip[right] == left
    assert sorted(layout.flip[i] for i in layout.pupils[0]) == sorted(layout.pupils[1])


def test_the_68_points_mirrored_by_hand() -> None:
    jaw = [16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    brows = [26, 25, 24, 23, 22, 21, 20, 19, 18, 17]
    nose = [27, 28, 29, 30, 35, 34, 33, 32, 31]
    eyes = [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    outer_lips = [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55]
    inner_lips = [64, 63, 62, 61, 60, 67, 66, 65]
    assert list(IBUG68.flip) == jaw + brows + nose + eyes + outer_lips + inner_lips


def test_the_68_points_grouped_by_hand() -> None:
    assert IBUG68.groups["jaw"] == tuple(range(17))
    assert IBUG68.groups["right_brow"] == (17, 18, 19, 20, 21)
    assert IBUG68.groups["nose"] == (27, 28, 29, 30, 31, 32, 33, 34, 35)
    assert IBUG68.groups["left_eye"] == (42, 43, 44, 45, 46, 47)
    assert IBUG68.groups["inner_lips"] == (60, 61, 62, 63, 64, 65, 66, 67)


def test_the_29_and_19_points_mirrored_by_hand() -> None:
    brows, eyes = [1, 0, 3, 2, 6, 7, 4, 5], [9, 8, 11, 10, 14, 15, 12, 13]
    assert list(COFW29.flip) == [*brows, *eyes, 17, 16, 19, 18, 20, 21, 23, 22, 24, 25, 26, 27, 28]
    assert list(AFLW19.flip) == [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 14, 13, 12, 17, 16, 15, 18]


def test_the_joints_mirrored_by_hand() -> None:
    assert list(COCO17.flip) == [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    assert list(MPII16.flip) == [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10]


def test_the_68_points_places_are_those_of_the_data(test_data: Path) -> None:
    mapping = json.loads((test_data / "faces300w" / "mapping.json").read_text())
    assert list(IBUG68_IN_WFLW98) == mapping["wflw_index_of_300w_point"]
