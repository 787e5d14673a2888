"""The point layouts of the data sets besides `landmarks.layout.WFLW98`, with the same conventions."""

from __future__ import annotations

from typing import Final

from landmarks.layout import WFLW98, Indices, PointLayout, flip_by_names


def _numbered(points: int) -> tuple[str, ...]:
    """Names of points that are known by their numbers alone."""
    return tuple(f"point_{i}" for i in range(points))


def _flip(points: int, *pairs: tuple[int, int]) -> Indices:
    """The permutation that exchanges the pairs."""
    partner = dict(pairs) | {b: a for a, b in pairs}
    return tuple(partner.get(i, i) for i in range(points))


# ---------------------------------------------------------------- faces

IBUG68_IN_WFLW98: Final[Indices] = (
    *range(0, 33, 2),  # 0-16 jaw
    *range(33, 38),  # 17-21 right brow, its upper edge
    *range(42, 47),  # 22-26 left brow
    *range(51, 60),  # 27-35 nose
    *(60, 61, 63, 64, 65, 67),  # 36-41 right eye
    *(68, 69, 71, 72, 73, 75),  # 42-47 left eye
    *range(76, 96),  # 48-67 lips
)
"""The index of each of the 68 points of 300-W in the 98-point layout."""

IBUG68: Final = PointLayout(
    "ibug68",
    tuple(WFLW98.point_names[point] for point in IBUG68_IN_WFLW98),
    flip=tuple(IBUG68_IN_WFLW98.index(WFLW98.flip[point]) for point in IBUG68_IN_WFLW98),
    groups={
        name: tuple(i for i, point in enumerate(IBUG68_IN_WFLW98) if point in members)
        for name, members in WFLW98.groups.items()
        if name != "pupils"
    },
    norm="inter_ocular",
    outer_eye_corners=(36, 45),
    pupils=(tuple(range(36, 42)), tuple(range(42, 48))),
)

COFW29: Final = PointLayout(
    "cofw29",
    _numbered(29),
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
    outer_eye_corners=(8, 9),
    pupils=((16,), (17,)),
)

AFLW19: Final = PointLayout(
    "aflw19",
    _numbered(19),
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

_COCO_NAMES: Final = (
    "nose",
    *(
        f"{side}_{joint}"
        for joint in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in ("left", "right")
    ),
)

COCO17: Final = PointLayout(
    "coco17",
    _COCO_NAMES,
    flip=flip_by_names(_COCO_NAMES),
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

_MPII_NAMES: Final = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("pelvis", "thorax", "neck", "head_top"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
)

MPII16: Final = PointLayout(
    "mpii16",
    _MPII_NAMES,
    flip=flip_by_names(_MPII_NAMES),
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
