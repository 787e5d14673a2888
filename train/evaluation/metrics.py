"""Error metrics of predicted points. Points that are not annotated are NaN and do not count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from landmarks.layout import PointLayout

Array = NDArray[np.float64]

LIMIT: Final = 0.10
"""The error threshold of failure rate and AUC: 10 % of the normalising length."""


# ---------------------------------------------------------------- normalising lengths


def inter_ocular(points: Array, layout: PointLayout) -> Array:
    """Distance of the outer eye corners of [..., P, 2]: [...]. Raises ValueError where the layout has none."""
    if layout.outer_eye_corners is None:
        raise ValueError(f"{layout.name} has no inter-ocular distance")
    right, left = layout.outer_eye_corners
    distance: Array = np.linalg.norm(points[..., right, :] - points[..., left, :], axis=-1)
    return distance


def inter_pupil(points: Array, layout: PointLayout) -> Array:
    """Distance of the pupils, or of the means of the eyes' points, of [..., P, 2]: [...].

    Raises ValueError where the layout has none.
    """
    if layout.pupils is None:
        raise ValueError(f"{layout.name} has no inter-pupil distance")
    right, left = (points[..., list(eye), :].mean(axis=-2) for eye in layout.pupils)
    distance: Array = np.linalg.norm(right - left, axis=-1)
    return distance


# ---------------------------------------------------------------- figures over a set of faces


def point_errors(predicted: Array, truth: Array, lengths: Array) -> Array:
    """Distances [faces, P] between predicted and true points [faces, P, 2], divided by the lengths [faces]."""
    errors: Array = np.linalg.norm(predicted - truth, axis=-1) / lengths[:, None]
    return errors


@dataclass(frozen=True)
class Report:
    """Figures over a set of faces; NME, FR and AUC as in the WFLW benchmark."""

    nme: float
    """Normalised mean error in percent: the mean over the faces of a face's mean `point_errors`."""
    fr10: float
    """Failure rate in percent: the share of faces whose own NME exceeds 10 %."""
    auc10: float
    """Area under the cumulative error curve up to 10 %, as a fraction of 1."""
    faces: int


def report(errors: Array) -> Report:
    """Summarises `point_errors` [faces, P]."""
    per_face = np.nanmean(errors, axis=1)
    # the area under the empirical distribution up to t is the mean of max(0, t - error)
    auc = float(np.maximum(0.0, LIMIT - per_face).mean() / LIMIT)
    return Report(100 * float(per_face.mean()), 100 * float((per_face > LIMIT).mean()), auc, len(errors))


def group_nme(errors: Array, group: Sequence[int]) -> float | None:
    """Mean of `point_errors` [faces, P] over the points of a group, in percent; None when none is annotated."""
    chosen = errors[:, list(group)]
    chosen = chosen[~np.isnan(chosen)]
    return 100 * float(chosen.mean()) if chosen.size else None


# ---------------------------------------------------------------- bodies

MPII_EVALUATED: Final = tuple(i for i in range(16) if i not in (6, 7))
"""The joints that MPII's PCKh counts: all but pelvis and thorax."""

COCO_SIGMAS: Final = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], np.float64) / 1000
"""[17] Standard deviation of COCO's annotations of each point, divided by the root of the person's area."""


def pckh(errors: Array, threshold: float) -> float | None:
    """Percentage of annotated joints within `threshold` head sizes; None when none is annotated.

    errors [people, 16] are `point_errors` divided by the head's size.
    """
    chosen = errors[:, list(MPII_EVALUATED)]
    chosen = chosen[~np.isnan(chosen)]
    return 100 * float((chosen <= threshold).mean()) if chosen.size else None


MPII_JOINTS: Final = ((9,), (12, 13), (11, 14), (10, 15), (2, 3), (1, 4), (0, 5))
"""The joints of the columns of MPII's tables: head (its top), shoulder, elbow, wrist, hip, knee, ankle."""


def pckh_by_joint(errors: Array, threshold: float) -> list[float]:
    """Percentages of annotated joints within `threshold` head sizes, as MPII's tables have them: the mean of the right
    and the left one's for each of MPII_JOINTS, then that of all joints that PCKh counts.

    errors as in `pckh`. NaN where none is annotated.
    """
    annotated = ~np.isnan(errors)
    with np.errstate(invalid="ignore"):
        shares = 100 * ((errors <= threshold) & annotated).sum(axis=0) / annotated.sum(axis=0)
    overall = pckh(errors, threshold)
    return [
        *(float(shares[list(joints)].mean()) for joints in MPII_JOINTS),
        float("nan") if overall is None else overall,
    ]


def oks(errors: Array) -> Array:
    """Object keypoint similarity [people], from 0 to 1: the mean over the annotated points of exp(-e^2 / (8 sigma^2)).

    errors [people, 17] are `point_errors` divided by the root of the person's area.
    """
    similarity: Array = np.nanmean(np.exp(-((errors / COCO_SIGMAS) ** 2) / 8), axis=1)
    return similarity


# ---------------------------------------------------------------- uncertainty


def mahalanobis(errors: Array, covariances: Array) -> Array:
    """Squared Mahalanobis distance of errors [..., 2] under covariances [..., 2, 2]: [...]."""
    a, b, d = covariances[..., 0, 0], covariances[..., 0, 1], covariances[..., 1, 1]
    x, y = errors[..., 0], errors[..., 1]
    distance: Array = (d * x * x - 2 * b * x * y + a * y * y) / (a * d - b * b)
    return distance


@dataclass(frozen=True)
class VisibilityFigures:
    """How well the visibility of points agrees with whether they are seen."""

    points: int
    """The number of points of which it is known."""
    hidden: float
    """Percentage of them that are hidden."""
    auroc: float | None
    """The probability that a hidden point has a lower visibility than one that is seen; None where all or none are."""
    calibration: float
    """The largest difference, in percent, between the mean visibility and the share that is seen, of the points in each
    tenth of the range from 0 to 1 that has at least a hundredth of them."""


def visibility_figures(visibility: Array, seen: NDArray[np.bool_]) -> VisibilityFigures | None:
    """The figures of points with probabilities [n] of being seen; None without points."""
    if not len(seen):
        return None
    tenths = np.minimum((10 * visibility).astype(int), 9)
    counts, said, were = (np.bincount(tenths, each, minlength=10) for each in (None, visibility, seen))
    enough = counts >= max(1, len(seen) / 100)
    deviations = np.abs(said - were)[enough] / counts[enough]
    return VisibilityFigures(
        len(seen), 100 * float((~seen).mean()), auroc(visibility, ~seen), 100 * float(deviations.max())
    )


def auroc(scores: Array, failed: NDArray[np.bool_]) -> float | None:
    """The area under the ROC curve of the scores [n] as a classifier of failures [n].

    It is the probability that a failed face has a lower score than one that has not failed, where ties count half. None
    where all faces failed, or none did.
    """
    bad, good = np.sort(scores[failed]), scores[~failed]
    if not len(bad) or not len(good):
        return None
    lower = np.searchsorted(bad, good, side="left") + np.searchsorted(bad, good, side="right")
    return float(lower.mean() / 2 / len(bad))
