"""The 98-point WFLW layout: names, groups, outlines to draw, flip pairs, and the two points that give the face's size.

"Left" and "right" are the subject's own, so the subject's right eye is on the left of an unmirrored picture.
The flip pairs are derived from the names: the partner of a point is the point whose name has left and right exchanged.

Source: Wu et al., "Look at Boundary: A Boundary-Aware Face Alignment Algorithm", CVPR 2018 (the WFLW annotation).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

LAYOUT_NAME: Final = "wflw98"


def _brow(side: str, *, outer_first: bool) -> list[str]:
    """Nine names of one brow: the upper edge with its tips, then back along the lower edge."""
    upper = ["outer", "upper_outer", "upper_middle", "upper_inner", "inner"]
    lower = ["lower_inner", "lower_middle_inner", "lower_middle_outer", "lower_outer"]
    if not outer_first:
        upper, lower = upper[::-1], lower[::-1]
    return [f"{side}_brow_{part}" for part in upper + lower]


def _eye(side: str, *, outer_first: bool) -> list[str]:
    """Eight names of one eye: corner, upper lid, corner, then back along the lower lid."""
    upper = ["outer_corner", "upper_outer", "upper_middle", "upper_inner", "inner_corner"]
    lower = ["lower_inner", "lower_middle", "lower_outer"]
    if not outer_first:
        upper, lower = upper[::-1], lower[::-1]
    return [f"{side}_eye_{part}" for part in upper + lower]


def _lip(contour: str) -> list[str]:
    """Names of a mouth contour from the right corner over the upper lip to the left corner and back below."""
    per_side = {"outer": ["side", "peak"], "inner": ["middle"]}[contour]
    upper_right = [f"right_{contour}_lip_upper_{part}" for part in per_side]
    lower_right = [f"right_{contour}_lip_lower_{part}" for part in per_side]
    return [
        f"right_{contour}_lip_corner",
        *upper_right,
        f"{contour}_lip_upper_centre",
        *(swap_sides(name) for name in reversed(upper_right)),
        f"left_{contour}_lip_corner",
        *(swap_sides(name) for name in lower_right),
        f"{contour}_lip_lower_centre",
        *reversed(lower_right),
    ]


def swap_sides(name: str) -> str:
    """The name with its leading `left_` and `right_` exchanged; a name of the midline comes back as it is."""
    side, _, rest = name.partition("_")
    return {"left": f"right_{rest}", "right": f"left_{rest}"}.get(side, name)


POINT_NAMES: Final[tuple[str, ...]] = (
    *(f"right_jaw_{i:02d}" for i in range(16)),  # 0-15, from the ear down
    "chin",  # 16
    *(f"left_jaw_{i:02d}" for i in reversed(range(16))),  # 17-32, up to the ear
    *_brow("right", outer_first=True),  # 33-41
    *_brow("left", outer_first=False),  # 42-50
    *(f"nose_bridge_{i}" for i in range(4)),  # 51-54, from between the eyes down to the tip
    "right_nostril_outer",  # 55
    "right_nostril_inner",
    "nose_base",  # 57
    "left_nostril_inner",
    "left_nostril_outer",  # 59
    *_eye("right", outer_first=True),  # 60-67
    *_eye("left", outer_first=False),  # 68-75
    *_lip("outer"),  # 76-87
    *_lip("inner"),  # 88-95
    "right_pupil",  # 96
    "left_pupil",  # 97
)

NUM_POINTS: Final = len(POINT_NAMES)

GROUPS: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        "jaw": tuple(range(33)),
        "right_brow": tuple(range(33, 42)),
        "left_brow": tuple(range(42, 51)),
        "nose": tuple(range(51, 60)),
        "right_eye": tuple(range(60, 68)),
        "left_eye": tuple(range(68, 76)),
        "outer_lips": tuple(range(76, 88)),
        "inner_lips": tuple(range(88, 96)),
        "pupils": (96, 97),
    }
)
"""Every point's group; the groups are disjoint and cover the layout."""


def _closed(points: tuple[int, ...]) -> tuple[int, ...]:
    return (*points, points[0])


OUTLINES: Final[Mapping[str, tuple[tuple[int, ...], ...]]] = MappingProxyType(
    {
        "jaw": (GROUPS["jaw"],),
        "right_brow": (_closed(GROUPS["right_brow"]),),
        "left_brow": (_closed(GROUPS["left_brow"]),),
        "nose": ((51, 52, 53, 54), (55, 56, 57, 58, 59)),
        "right_eye": (_closed(GROUPS["right_eye"]),),
        "left_eye": (_closed(GROUPS["left_eye"]),),
        "outer_lips": (_closed(GROUPS["outer_lips"]),),
        "inner_lips": (_closed(GROUPS["inner_lips"]),),
        "pupils": (),
    }
)
"""The polylines to draw for each group, as point indices; a closed outline repeats its first point."""

FLIP: Final[tuple[int, ...]] = tuple(POINT_NAMES.index(swap_sides(name)) for name in POINT_NAMES)
"""`FLIP[i]` is the point that takes the place of point i when the picture is mirrored."""

OUTER_EYE_CORNERS: Final[tuple[int, int]] = (
    POINT_NAMES.index("right_eye_outer_corner"),
    POINT_NAMES.index("left_eye_outer_corner"),
)
"""Points 60 and 72: their distance is the inter-ocular distance that normalises the error (NME)."""
