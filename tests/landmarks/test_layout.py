from __future__ import annotations

import numpy as np

from landmarks import layout


def test_names_are_98_and_unique() -> None:
    assert len(layout.POINT_NAMES) == 98
    assert len(set(layout.POINT_NAMES)) == 98


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
    assert {i: layout.POINT_NAMES[i] for i in expected} == expected


def test_flip_pairs_are_those_of_the_wflw_annotation() -> None:
    # written down from the annotation's drawing, not derived from the names
    pairs = {i: 32 - i for i in range(33)}
    pairs |= {33: 46, 34: 45, 35: 44, 36: 43, 37: 42, 38: 50, 39: 49, 40: 48, 41: 47}
    pairs |= {51: 51, 52: 52, 53: 53, 54: 54, 55: 59, 56: 58, 57: 57}
    pairs |= {60: 72, 61: 71, 62: 70, 63: 69, 64: 68, 65: 75, 66: 74, 67: 73}
    pairs |= {76: 82, 77: 81, 78: 80, 79: 79, 87: 83, 86: 84, 85: 85}
    pairs |= {88: 92, 89: 91, 90: 90, 95: 93, 94: 94, 96: 97}
    pairs |= {right: left for left, right in pairs.items()}
    assert dict(enumerate(layout.FLIP)) == pairs


def test_flip_of_flip_is_the_identity() -> None:
    assert [layout.FLIP[layout.FLIP[i]] for i in range(98)] == list(range(98))


def test_groups_cover_the_layout_once() -> None:
    assert sorted(i for group in layout.GROUPS.values() for i in group) == list(range(98))


def test_outlines_stay_within_their_group() -> None:
    assert set(layout.OUTLINES) == set(layout.GROUPS)
    for name, outlines in layout.OUTLINES.items():
        assert {i for outline in outlines for i in outline} <= set(layout.GROUPS[name])


def test_inter_ocular_points() -> None:
    assert layout.OUTER_EYE_CORNERS == (60, 72)


def test_flip_makes_a_mirrored_real_shape_look_like_a_shape(wflw_shapes: np.ndarray) -> None:
    """Mirrored with the pairs swapped, real shapes keep their mean; with one wrong pair they would not."""
    size = wflw_shapes[:, 72] - wflw_shapes[:, 60]
    shapes = (wflw_shapes - wflw_shapes.mean(axis=1, keepdims=True)) / np.linalg.norm(size, axis=1)[:, None, None]
    mean = shapes.mean(axis=0)
    mirrored = mean[list(layout.FLIP)] * [-1, 1]
    assert np.abs(mirrored - mean).max() < 0.06
