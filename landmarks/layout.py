"""Point layouts: the names, groups, outlines and mirror pairs of the points that a model answers with.

`WFLW98` is the layout of the shipped models. A model states its own layout in full in its metadata
(`landmarks.metadata.ModelMetadata.layout`), so one of other points is served without a change of code.

Points are counted from 0. "Left" and "right" are the subject's own, so the subject's right eye is on the left of an
unmirrored image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

Norm = Literal["inter_ocular", "inter_pupil", "box", "size", "tight_box"]
"""What an error is divided by: the distance of the outer eye corners, the distance of the pupils (or of the centres of
the eyes), the square root of the area of the face box, a length that the data set states for each subject, or the
square root of the area of the box of the true points, which no yaw makes vanish."""

Indices = tuple[int, ...]
T = TypeVar("T")


class LayoutError(ValueError):
    """The parts of a layout contradict each other; the message says which."""


@dataclass(frozen=True)
class PointLayout:
    """What one must know of a set of points besides their coordinates. Raises LayoutError unless its parts agree."""

    name: str
    point_names: tuple[str, ...]
    """One unique name for each point, in the order of answers."""
    flip: Indices
    """`flip[i]` is the point that point i becomes when the image is mirrored."""
    groups: Mapping[str, Indices]
    """The parts of the face (or body) to report on. They are disjoint and cover all points."""
    norm: Norm
    """What published errors on this layout are divided by."""
    outlines: Mapping[str, tuple[Indices, ...]] = field(default_factory=dict)
    """The polylines to draw for a group, as point indices; a closed one repeats its first point. A group without an
    entry is drawn as dots alone."""
    outer_eye_corners: tuple[int, int] | None = None
    """The right and the left one, where the layout has them."""
    pupils: tuple[Indices, Indices] | None = None
    """The points whose means stand for the right and the left pupil, where the inter-pupil distance is used."""
    upright: tuple[Indices, Indices] | None = None
    """The points of the eyes and those of the mouth, whose means lie above each other on a head without roll."""

    def __post_init__(self) -> None:
        every = list(range(self.points))
        if not every or len(set(self.point_names)) != self.points:
            raise LayoutError(f"layout {self.name!r} needs at least one point, and a name of its own for each")
        if sorted(self.flip) != every or [self.flip[i] for i in self.flip] != every:
            raise LayoutError(f"flip of layout {self.name!r} must exchange pairs of its {self.points} points")
        if sorted(point for group in self.groups.values() for point in group) != every:
            raise LayoutError(f"the groups of layout {self.name!r} must hold each of its {self.points} points once")
        if not set(self.outlines) <= set(self.groups):
            raise LayoutError(f"layout {self.name!r} has outlines of unknown groups: {sorted(self.outlines)}")
        drawn = [point for lines in self.outlines.values() for line in lines for point in line]
        eyes = [*(self.outer_eye_corners or ()), *(point for pupil in self.pupils or () for point in pupil)]
        measured = [*eyes, *(point for part in self.upright or () for point in part)]
        if not set(drawn + measured) <= set(every) or not all(self.upright or (True,)):
            raise LayoutError(f"layout {self.name!r} has {self.points} points, but draws or measures others")
        if self.norm not in get_args(Norm):
            raise LayoutError(f"norm of layout {self.name!r} must be one of {get_args(Norm)}, not {self.norm!r}")

    @property
    def points(self) -> int:
        """Number of points."""
        return len(self.point_names)

    def inter_ocular(self, points: NDArray[np.floating[Any]]) -> float:
        """Distance between the outer eye corners of one face's points [P, 2], in their pixels.

        In a layout without eye corners the square root of the area of the points' bounding box stands in for it: the
        length that errors are divided by on such layouts, and of the same order of magnitude.
        """
        if self.outer_eye_corners is None:
            return float(np.sqrt(np.ptp(points, axis=0).prod()))
        right, left = (points[i] for i in self.outer_eye_corners)
        return float(np.linalg.norm(left - right))

    def to_mapping(self) -> dict[str, Any]:
        """The layout as JSON values. Groups are a list, because their order counts (it is the order of drawing)."""
        return {
            "name": self.name,
            "point_names": list(self.point_names),
            "flip": list(self.flip),
            "groups": [
                {"name": name, "points": list(points), "outlines": [list(line) for line in self.outlines.get(name, ())]}
                for name, points in self.groups.items()
            ],
            "norm": self.norm,
            "outer_eye_corners": self.outer_eye_corners and list(self.outer_eye_corners),
            "pupils": self.pupils and [list(points) for points in self.pupils],
            "upright": self.upright and [list(points) for points in self.upright],
        }

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> PointLayout:
        """Reads what `to_mapping` gives. Raises LayoutError for anything else."""
        try:
            corners, pupils = values["outer_eye_corners"], values["pupils"]
            upright = values.get("upright")  # models exported before layouts had it have none
            return cls(
                str(values["name"]),
                tuple(map(str, values["point_names"])),
                _indices(values["flip"]),
                {str(group["name"]): _indices(group["points"]) for group in values["groups"]},
                values["norm"],
                {
                    str(group["name"]): tuple(map(_indices, group["outlines"]))
                    for group in values["groups"]
                    if group["outlines"]
                },
                None if corners is None else _pair(_indices(corners)),
                None if pupils is None else _pair(tuple(map(_indices, pupils))),
                None if upright is None else _pair(tuple(map(_indices, upright))),
            )
        except LayoutError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise LayoutError(f"not a point layout ({type(error).__name__}: {error})") from error


def _indices(values: Sequence[Any]) -> Indices:
    if not all(type(value) is int for value in values):
        raise LayoutError(f"indices of points are integers, not {values}")
    return tuple(values)


def _pair(values: tuple[T, ...]) -> tuple[T, T]:
    right, left = values
    return right, left


def flip_by_names(names: Sequence[str]) -> Indices:
    """The `flip` of a layout whose names begin with `left_` and `right_`: a point's partner is the one whose name has
    the two exchanged, and a point of the midline is its own.
    """
    return tuple(names.index(swap_sides(name)) for name in names)


def swap_sides(name: str) -> str:
    """The name with its leading `left_` and `right_` exchanged; a name of the midline is returned unchanged."""
    side, _, rest = name.partition("_")
    return {"left": f"right_{rest}", "right": f"left_{rest}"}.get(side, name)


# ---------------------------------------------------------------- WFLW


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


def _closed(points: Indices) -> tuple[Indices, ...]:
    return ((*points, points[0]),)


_NAMES: Final = (
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

_GROUPS: Final[Mapping[str, Indices]] = {
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

WFLW98: Final = PointLayout(
    "wflw98",
    _NAMES,
    flip_by_names(_NAMES),
    _GROUPS,
    "inter_ocular",
    outlines={
        "jaw": (_GROUPS["jaw"],),
        "nose": ((51, 52, 53, 54), (55, 56, 57, 58, 59)),
        **{
            name: _closed(_GROUPS[name])
            for name in ("right_brow", "left_brow", "right_eye", "left_eye", "outer_lips", "inner_lips")
        },
    },
    outer_eye_corners=(_NAMES.index("right_eye_outer_corner"), _NAMES.index("left_eye_outer_corner")),
    pupils=((96,), (97,)),
    upright=(_GROUPS["right_eye"] + _GROUPS["left_eye"], _GROUPS["outer_lips"]),
)
"""Source: Wu et al., "Look at Boundary: A Boundary-Aware Face Alignment Algorithm", CVPR 2018 (the WFLW annotation)."""
