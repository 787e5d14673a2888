from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from landmarks.layout import WFLW98, LayoutError, PointLayout


def test_names_are_98_and_unique() -> None:
    assert WFLW98.points == 98
    assert len(set(WFLW98.point_names)) == 98


def test_known_points_have_their_names() -> None:
    expected = {
        0: "right_jaw_00",
        16: "chin",
        32: "left_jaw_00",
        33: "right_brow_outer",
        46: "left_brow_outer",
        54: "nose_bridge_3",
        57: "nose_base",
        60: "right_eye_outer_corner",
        64: "right_eye_inner_corner",
        68: "left_eye_inner_corner",
        72: "left_eye_outer_corner",
        76: "right_outer_lip_corner",
        79: "outer_lip_upper_centre",
        82: "left_outer_lip_corner",
        85: "outer_lip_lower_centre",
        88: "right_inner_lip_corner",
        90: "inner_lip_upper_centre",
        96: "right_pupil",
        97: "left_pupil",
    }
    assert {i: WFLW98.point_names[i] for i in expected} == expected


def test_flip_pairs_are_those_of_the_wflw_annotation() -> None:
    # written down from the annotation's drawing, not derived from the names
    pairs = {i: 32 - i for i in range(33)}
    pairs |= {33: 46, 34: 45, 35: 44, 36: 43, 37: 42, 38: 50, 39: 49, 40: 48, 41: 47}
    pairs |= {51: 51, 52: 52, 53: 53, 54: 54, 55: 59, 56: 58, 57: 57}
    pairs |= {60: 72, 61: 71, 62: 70, 63: 69, 64: 68, 65: 75, 66: 74, 67: 73}
    pairs |= {76: 82, 77: 81, 78: 80, 79: 79, 87: 83, 86: 84, 85: 85}
    pairs |= {88: 92, 89: 91, 90: 90, 95: 93, 94: 94, 96: 97}
    pairs |= {right: left for left, right in pairs.items()}
    assert dict(enumerate(WFLW98.flip)) == pairs


def test_outlines_stay_within_their_group() -> None:
    for name, outlines in WFLW98.outlines.items():
        assert {i for outline in outlines for i in outline} <= set(WFLW98.groups[name])
    assert set(WFLW98.groups) - set(WFLW98.outlines) == {"pupils"}


def test_the_points_that_errors_are_divided_by() -> None:
    assert WFLW98.outer_eye_corners == (60, 72)
    assert WFLW98.pupils == ((96,), (97,))
    assert WFLW98.norm == "inter_ocular"


def test_flip_makes_a_mirrored_real_shape_look_like_a_shape(wflw_shapes: np.ndarray) -> None:
    """Mirrored with the pairs swapped, real shapes keep their mean; with one wrong pair they would not."""
    size = wflw_shapes[:, 72] - wflw_shapes[:, 60]
    shapes = (wflw_shapes - wflw_shapes.mean(axis=1, keepdims=True)) / np.linalg.norm(size, axis=1)[:, None, None]
    mean = shapes.mean(axis=0)
    mirrored = mean[list(WFLW98.flip)] * [-1, 1]
    assert np.abs(mirrored - mean).max() < 0.06


# ---------------------------------------------------------------- any layout

THREE = PointLayout(
    "three", ("right_eye", "left_eye", "chin"), (1, 0, 2), {"eyes": (0, 1), "chin": (2,)}, "inter_ocular",
    outlines={"eyes": ((0, 1),)}, outer_eye_corners=(0, 1), pupils=((0,), (1,)),
)  # fmt: skip


@pytest.mark.parametrize("layout", [WFLW98, THREE, replace(THREE, outer_eye_corners=None, pupils=None, norm="box")])
def test_a_layout_comes_back_from_its_json_in_the_same_order(layout: PointLayout) -> None:
    again = PointLayout.from_mapping(json.loads(json.dumps(layout.to_mapping(), sort_keys=True)))
    assert again == layout
    assert list(again.groups) == list(layout.groups)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"point_names": ("right_eye", "left_eye", "left_eye")}, "name of its own"),
        ({"point_names": (), "flip": (), "groups": {}}, "at least one point"),
        ({"flip": (1, 0)}, "flip"),
        ({"flip": (1, 2, 0)}, "flip"),
        ({"flip": (0, 1, 3)}, "flip"),
        ({"groups": {"eyes": (0, 1)}}, "groups"),
        ({"groups": {"eyes": (0, 1), "chin": (1, 2)}}, "groups"),
        ({"outlines": {"nose": ((0, 1),)}}, "nose"),
        ({"outlines": {"eyes": ((0, 3),)}}, "draws or measures others"),
        ({"outer_eye_corners": (0, 3)}, "draws or measures others"),
        ({"pupils": ((0,), (-1,))}, "draws or measures others"),
        ({"norm": "nose"}, "norm"),
    ],
)
def test_a_layout_whose_parts_contradict_each_other_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        replace(THREE, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"flip": [1.0, 0, 2]},
        {"flip": 5},
        {"groups": {"eyes": [0, 1, 2]}},
        {"groups": [{"name": "all", "points": [0, 1, 2]}]},
        {"outer_eye_corners": [0, 1, 2]},
        {"pupils": [[0]]},
        {"norm": ["box"]},
    ],
)
def test_json_that_is_no_layout_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(LayoutError):
        PointLayout.from_mapping({**THREE.to_mapping(), **change})


def test_the_size_of_a_face() -> None:
    face = np.array([[1.0, 2.0], [4.0, 6.0], [3.0, 14.0]])
    assert THREE.inter_ocular(face) == 5.0
    # the points' box is 3 wide and 12 high
    assert replace(THREE, outer_eye_corners=None).inter_ocular(face) == 6.0
