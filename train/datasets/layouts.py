"""The point layouts of the data sets: how many points, which are mirror images, what their errors are divided by.

Points are counted from 0 throughout. "Left" and "right" are the subject's own, as in `landmarks.layout`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from landmarks.layout import FLIP, GROUPS, LAYOUT_NAME, NUM_POINTS, OUTER_EYE_CORNERS

Norm = Literal["inter_ocular", "inter_pupil", "box", "size"]
"""What an error is divided by: the distance of the outer eye corners, the distance of the pupils (or of the eyes'
middles), the square root of the box's area, or a length that the data set states for each subject."""

Indices = tuple[int, ...]


@dataclass(frozen=True)
class PointLayout:
    """What one must know of a set of points besides where they lie."""

    name: str
    flip: Indices
    """`flip[i]` is the point that takes the place of point i when the picture is mirrored."""
    groups: Mapping[str, Indices]
    """Parts to report on; disjoint, and together all points."""
    norm: Norm
    """What the set's published figures divide by."""
    eye_corners: tuple[int, int] | None = None
    """The outer corners, where the inter-ocular distance is used."""
    pupils: tuple[Indices, Indices] | None = None
    """The points whose means stand for the pupils, where the inter-pupil distance is used."""

    @property
    def points(self) -> int:
        """Number of points."""
        return len(self.flip)


def _flip(points: int, *pairs: tuple[int, int]) -> Indices:
    """The permutation that exchanges the pairs."""
    partner = dict(pairs) | {b: a for a, b in pairs}
    return tuple(partner.get(i, i) for i in range(points))


# ---------------------------------------------------------------- faces

WFLW98: Final = PointLayout(
    LAYOUT_NAME, FLIP, GROUPS, "inter_ocular", eye_corners=OUTER_EYE_CORNERS, pupils=((96,), (97,))
)

IBUG68_IN_WFLW98: Final[Indices] = (
    *range(0, 33, 2),  # 0-16 jaw
    *range(33, 38),  # 17-21 right brow, its upper edge
    *range(42, 47),  # 22-26 left brow
    *range(51, 60),  # 27-35 nose
    *(60, 61, 63, 64, 65, 67),  # 36-41 right eye
    *(68, 69, 71, 72, 73, 75),  # 42-47 left eye
    *range(76, 96),  # 48-67 lips
)
"""The place of each of the 68 points of 300-W in the 98-point layout."""

IBUG68: Final = PointLayout(
    "ibug68",
    flip=tuple(IBUG68_IN_WFLW98.index(FLIP[point]) for point in IBUG68_IN_WFLW98),
    groups={
        name: tuple(i for i, point in enumerate(IBUG68_IN_WFLW98) if point in members)
        for name, members in GROUPS.items()
        if name != "pupils"
    },
    norm="inter_ocular",
    eye_corners=(36, 45),
    pupils=(tuple(range(36, 42)), tuple(range(42, 48))),
)

COFW29: Final = PointLayout(
    "cofw29",
    flip=_flip(29, (0, 1), (2, 3), (4, 6), (5, 7), (8, 9), (10, 11), (12, 14), (13, 15), (16, 17), (18, 19), (22, 23)),
    groups={
        "brows": tuple(range(8)),
        "eyes": tuple(range(8, 16)),
        "pupils": (16, 17),
        "nose": (18, 19, 20, 21),
        "mouth": (22, 23, 24, 25, 26, 27),
        "chin": (28,),
    },
    norm="inter_ocular",
    eye_corners=(8, 9),
    pupils=((16,), (17,)),
)

AFLW19: Final = PointLayout(
    "aflw19",
    flip=_flip(19, (0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9), (12, 14), (15, 17)),
    groups={
        "brows": tuple(range(6)),
        "eyes": tuple(range(6, 12)),
        "nose": (12, 13, 14),
        "mouth": (15, 16, 17),
        "chin": (18,),
    },
    norm="box",  # in profile the eyes' distance vanishes
)

# ---------------------------------------------------------------- bodies

COCO17: Final = PointLayout(
    "coco17",
    flip=_flip(17, *((i, i + 1) for i in range(1, 17, 2))),
    groups={
        "head": (0, 1, 2, 3, 4),
        "shoulders": (5, 6),
        "elbows": (7, 8),
        "wrists": (9, 10),
        "hips": (11, 12),
        "knees": (13, 14),
        "ankles": (15, 16),
    },
    norm="size",
)

MPII16: Final = PointLayout(
    "mpii16",
    flip=_flip(16, (0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)),
    groups={
        "ankles": (0, 5),
        "knees": (1, 4),
        "hips": (2, 3),
        "trunk": (6, 7),  # pelvis and thorax, which PCKh leaves out
        "head": (8, 9),
        "wrists": (10, 15),
        "elbows": (11, 14),
        "shoulders": (12, 13),
    },
    norm="size",
)

LAYOUTS: Final[Mapping[str, PointLayout]] = {
    layout.name: layout for layout in (WFLW98, IBUG68, COFW29, AFLW19, COCO17, MPII16)
}

assert WFLW98.points == NUM_POINTS
