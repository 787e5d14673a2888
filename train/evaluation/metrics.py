"""How wrong the points are, in the field's standard terms. Points that nobody annotated are NaN and do not count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import MAX_POWER
from landmarks.layout import PointLayout

Array = NDArray[np.float64]

LIMIT: Final = 0.10
"""The error up to which FR and AUC look: 10 % of the normalising length."""


# ---------------------------------------------------------------- what errors are divided by


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


# ---------------------------------------------------------------- figures of a set of faces


def point_errors(predicted: Array, truth: Array, lengths: Array) -> Array:
    """Distance of every point over its face's length: [faces, P] from two [faces, P, 2] and [faces]."""
    errors: Array = np.linalg.norm(predicted - truth, axis=-1) / lengths[:, None]
    return errors


@dataclass(frozen=True)
class Report:
    """Figures over a set of faces; NME, FR and AUC as in the WFLW benchmark."""

    nme: float
    """Normalised mean error in percent: the mean over the faces of a face's mean `point_errors`."""
    fr10: float
    """Failure rate in percent: faces whose own NME exceeds 10 %."""
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

MPII_JUDGED: Final = tuple(i for i in range(16) if i not in (6, 7))
"""The joints that MPII's PCKh counts: all but pelvis and thorax."""

COCO_SIGMAS: Final = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], np.float64) / 1000
"""[17] How far annotators of COCO stray at each point, over the root of the person's area."""


def pckh(errors: Array, threshold: float) -> float | None:
    """Percentage of annotated joints within `threshold` head sizes; None when none is annotated.

    errors [people, 16] are `point_errors` over the head's size.
    """
    chosen = errors[:, list(MPII_JUDGED)]
    chosen = chosen[~np.isnan(chosen)]
    return 100 * float((chosen <= threshold).mean()) if chosen.size else None


def oks(errors: Array) -> Array:
    """Object keypoint similarity [people], from 0 to 1: the mean over the annotated points of exp(-e^2 / (8 sigma^2)).

    errors [people, 17] are `point_errors` over the root of the person's area.
    """
    similarity: Array = np.nanmean(np.exp(-((errors / COCO_SIGMAS) ** 2) / 8), axis=1)
    return similarity


# ---------------------------------------------------------------- uncertainty

LEAST_FREEDOM: Final = 2.5
MOST_FREEDOM: Final = 100.0
"""Degrees of freedom that are tried; the most are a Gaussian for all that matters."""


@dataclass(frozen=True)
class Tails:
    """How errors are spread about a point, in terms of the heatmap's second moments."""

    scale: float
    """Covariance of the errors over the second moments."""
    degrees_of_freedom: float
    """Of the Student distribution of the errors: see `landmarks.uncertainty`."""


def fit_tails(distances: Array) -> Tails:
    """The Student distribution that makes squared Mahalanobis distances [n], under the second moments, most likely.

    For each v on a grid, s is found by expectation-maximisation (Lange, Little and Taylor, JASA 1989).
    """
    best, most_likely = Tails(1.0, MOST_FREEDOM), -np.inf
    for freedom in np.geomspace(LEAST_FREEDOM, MOST_FREEDOM, 25):
        scale = float(distances.mean() / 2)
        for _ in range(50):
            scale = float((distances * (freedom + 2) / (freedom + distances / scale)).mean() / 2)
        tails = Tails(scale * freedom / (freedom - 2), float(freedom))
        if (likelihood := log_likelihood(distances, tails)) > most_likely:
            best, most_likely = tails, likelihood
    return best


def log_likelihood(distances: Array, tails: Tails) -> float:
    """The mean logarithm of the density of squared distances [n], but for a constant.

    With v degrees of freedom and a scale matrix s times the moments, the density of the squared distance d of a point
    in the plane is (1 + d / (v s))^(-v/2 - 1) / (2 s).
    """
    freedom = tails.degrees_of_freedom
    scale = tails.scale * (freedom - 2) / freedom
    return float(-np.log(scale) - (freedom / 2 + 1) * np.log1p(distances / (freedom * scale)).mean())


def fit_power(groups: Mapping[str, Array], spreads: Array) -> float:
    """The power of the faces' spreads [faces] that second moments are best multiplied by, to a hundredth.

    That which makes the squared distances [faces, P] of all groups, NaN where a point is not annotated, most likely,
    each group under the `fit_tails` of its own.
    """
    from scipy.optimize import minimize_scalar

    logarithms = np.log(spreads)[:, None]
    known = {name: ~np.isnan(distances) for name, distances in groups.items()}
    pairs = [(groups[name][mask], np.broadcast_to(logarithms, mask.shape)[mask]) for name, mask in known.items()]

    def surprise(power: float) -> float:
        total = 0.0
        for distances, spread in pairs:
            if len(distances):
                divided = distances / np.exp(power * spread)
                total += power * spread.sum() - len(divided) * log_likelihood(divided, fit_tails(divided))
        return total

    found = minimize_scalar(surprise, bounds=(0.0, MAX_POWER), method="bounded", options={"xatol": 5e-3})
    return round(float(found.x), 2)


def fit_level(groups: Mapping[str, tuple[Tails, Array]]) -> float:
    """The one factor on the scales of groups of points that makes their squared distances [faces, P] most likely.

    By the same expectation-maximisation as `fit_tails`, which pairs each group with its squared distances under the
    second moments; NaN where a point is not annotated.
    """
    freedom, distances = [], []
    for tails, values in groups.values():
        known = values[~np.isnan(values)]
        # in units of the distribution's scale matrix, whose covariance is v / (v - 2) times as large
        distances.append(known / (tails.scale * (tails.degrees_of_freedom - 2) / tails.degrees_of_freedom))
        freedom.append(np.full(len(known), tails.degrees_of_freedom))
    v, d = np.concatenate(freedom), np.concatenate(distances)
    level = 1.0
    for _ in range(50):
        level = float((d * (v + 2) / (v + d / level)).mean() / 2)
    return level


def mahalanobis(errors: Array, covariances: Array) -> Array:
    """Squared Mahalanobis distance of errors [..., 2] under covariances [..., 2, 2]: [...]."""
    a, b, d = covariances[..., 0, 0], covariances[..., 0, 1], covariances[..., 1, 1]
    x, y = errors[..., 0], errors[..., 1]
    distance: Array = (d * x * x - 2 * b * x * y + a * y * y) / (a * d - b * b)
    return distance


def auroc(scores: Array, failed: NDArray[np.bool_]) -> float | None:
    """How often a failed face [n] has a lower score than one that has not, ties counting half: the area under the ROC
    curve. None where all faces failed, or none.
    """
    bad, good = np.sort(scores[failed]), scores[~failed]
    if not len(bad) or not len(good):
        return None
    lower = np.searchsorted(bad, good, side="left") + np.searchsorted(bad, good, side="right")
    return float(lower.mean() / 2 / len(bad))
