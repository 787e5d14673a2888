"""The second pass: a face is cropped again by the points of its first answer, upright, and answered again.

Detectors' boxes are off by some percent and know no roll, and tight boxes cut the crop short; the points of the first
answer tell where the face is, how large, and how it is rolled. The second crop is mirrored, so that the errors of the
two answers have less in common, and the answers are averaged. Serving and evaluation share what is here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import Decoded
from landmarks.crop import Crop, Matrix, longer_side, transform_covariances, transform_points
from landmarks.layout import PointLayout
from landmarks.metadata import PointsCrop
from landmarks.size import Size

Floats = NDArray[np.floating[Any]]

Refine = Literal["never", "auto", "always"]
"""Which faces get a second pass: none, those whose crop by points differs from their first (`differs`), or all."""
REFINE: Final = get_args(Refine)

MIN_ROLL: Final = math.radians(10)
MIN_ZOOM: Final = 0.10
MIN_SHIFT: Final = 0.05
"""From these differences on a second pass is worth its cost: of the roll, of the side, and of the center in sides of
the first crop. The network was trained with larger ones, so it gains nothing by smaller."""
SURE_SCORE: Final = 0.5
"""A second answer with at least this score counts, whatever the first one's score is."""
COMMON_ERROR: Final = 0.94
"""Squared error of the mean of both answers, as a share of theirs: most of the error is common to both. Measured on the
`val` splits of 300-W (0.92) and of hard faces (0.94), where the ellipses of 90 % end."""
MIN_SIDE: Final = 1.0
"""Image pixels; points closer together than this are no face."""


def crop_by_points(points: NDArray[np.floating[Any]], rule: PointsCrop, layout: PointLayout, size: Size) -> Crop | None:
    """The upright crop of `size` pixels about a face's points [P, 2]; None where they are no face."""
    roll = roll_of(points, layout)
    c, s = math.cos(roll), math.sin(roll)
    to_upright = np.array([[c, s, 0.0], [-s, c, 0.0]])
    upright = transform_points(to_upright, points)
    low, high = upright.min(axis=0), upright.max(axis=0)
    width, height = (high - low).tolist()
    side = rule.scale * longer_side(width, height, size)
    if not MIN_SIDE <= side < math.inf:
        return None
    x, y = ((low + high) / 2 - [0.0, rule.rise * side]).tolist()
    return Crop(c * x - s * y, s * x + c * y, side, size, roll)


def roll_of(points: NDArray[np.floating[Any]], layout: PointLayout) -> float:
    """The roll in radians of a face with points [P, 2]: clockwise on screen, 0 upright.

    It is that of the line from the middle of the eyes to the middle of the mouth, which the yaw of a head leaves
    upright. 0 in a layout that does not tell which points these are.
    """
    if layout.upright is None:
        return 0.0
    upper, lower = (points[list(part)].mean(axis=0) for part in layout.upright)
    x, y = (lower - upper).tolist()
    return math.atan2(-x, y)


def differs(first: Crop, second: Crop) -> bool:
    """Whether two crops of a face differ so much that the second is worth its cost."""
    roll = (second.roll - first.roll + math.pi) % (2 * math.pi) - math.pi
    shift = math.hypot(second.center_x - first.center_x, second.center_y - first.center_y) / first.side
    return abs(roll) > MIN_ROLL or abs(second.side / first.side - 1) > MIN_ZOOM or shift > MIN_SHIFT


def counts(first_score: float, second_score: float) -> bool:
    """Whether the second answer for a face, by the scores of both (`FaceScorer`), is averaged with the first.

    Where the first answer was wrong about where the face is, the second crop can miss it.
    """
    return second_score >= min(first_score, SURE_SCORE)


def average_passes(first: Decoded, second: Decoded, first_to_second: Matrix) -> Decoded:
    """The mean of two answers for one face, in pixels of the second's crop.

    `first`, `second`: points [P, 2] and so on, each in its own crop's pixels. `first_to_second`: the 2x3 matrix between
    these. A point of the one weighs as much as its variance is smaller than that of the other. Covariances, scores and
    visibility are means with the same weights; the covariances are multiplied by COMMON_ERROR.
    """
    points = transform_points(first_to_second, first.points)
    covariances = transform_covariances(first_to_second, first.covariances)
    before, after = (np.trace(each, axis1=-2, axis2=-1) for each in (covariances, second.covariances))
    weights = np.divide(before, before + after, out=np.full(before.shape, 0.5), where=before + after > 0)

    def mean(one: Floats, other: Floats) -> NDArray[np.float32]:
        share = weights.reshape(weights.shape + (1,) * (other.ndim - 1))
        return np.asarray(one + (other - one) * share, np.float32)

    return Decoded(
        mean(points, second.points),
        mean(first.scores, second.scores),
        mean(covariances, second.covariances) * np.float32(COMMON_ERROR),
        # a network that does not state it has no columns
        mean(first.visibility, second.visibility) if len(second.visibility) else second.visibility,
    )


def second_crops(
    points: Sequence[NDArray[np.floating[Any]]],
    first: Sequence[Crop],
    rule: PointsCrop,
    layout: PointLayout,
    refine: Refine,
) -> dict[int, Crop]:
    """The crops of the faces that get a second pass, by index.

    `points`: of each face's first answer, [P, 2] in pixels of the image.
    """
    if refine == "never":
        return {}
    pairs = enumerate(zip(points, first, strict=True))
    crops = ((i, crop_by_points(each, rule, layout, crop.size)) for i, (each, crop) in pairs)
    return {i: crop for i, crop in crops if crop is not None and (refine == "always" or differs(first[i], crop))}
