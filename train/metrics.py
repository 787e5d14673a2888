"""How wrong the points are: errors normalised by the inter-ocular distance, in the field's standard terms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landmarks.layout import OUTER_EYE_CORNERS

Array = NDArray[np.float64]


def inter_ocular(points: Array) -> Array:
    """Distance of the outer eye corners (points 60 and 72) of [..., 98, 2]: [...]."""
    right, left = OUTER_EYE_CORNERS
    distance: Array = np.linalg.norm(points[..., right, :] - points[..., left, :], axis=-1)
    return distance


def point_errors(predicted: Array, truth: Array) -> Array:
    """Distance of every point over its face's inter-ocular distance: [faces, 98] from two [faces, 98, 2]."""
    errors: Array = np.linalg.norm(predicted - truth, axis=-1) / inter_ocular(truth)[:, None]
    return errors


@dataclass(frozen=True)
class Report:
    """Figures over a set of faces; NME, FR and AUC as in the WFLW benchmark."""

    nme: float
    """Normalised mean error in percent: the mean of `point_errors`."""
    fr10: float
    """Failure rate in percent: faces whose own NME exceeds 10 %."""
    auc10: float
    """Area under the cumulative error curve up to 10 %, as a fraction of 1."""
    faces: int


def report(errors: Array) -> Report:
    """Summarises `point_errors` [faces, 98]."""
    per_face = errors.mean(axis=1)
    # the area under the empirical distribution up to t is the mean of max(0, t - error)
    auc = float(np.maximum(0.0, 0.10 - per_face).mean() / 0.10)
    return Report(100 * float(errors.mean()), 100 * float((per_face > 0.10).mean()), auc, len(errors))


@dataclass(frozen=True)
class Calibration:
    """Covariance served = scale * (heatmap's second moments) + floor * identity."""

    scale: float
    floor: float
    """crop pixels squared"""

    def apply(self, moments: Array) -> Array:
        """Second moments [..., 2, 2] -> covariances [..., 2, 2]."""
        covariances: Array = self.scale * moments + self.floor * np.eye(2)
        return covariances


def calibrate(errors: Array, moments: Array) -> Calibration:
    """The scale and floor that make the errors most likely under zero-mean Gaussians of the served covariances.

    errors [n, 2] in crop pixels, moments [n, 2, 2] in crop pixels squared. A grid search over powers of two, refined
    three times.
    """
    best, span = Calibration(1.0, 1.0), 8.0
    for _ in range(4):
        factors = 2.0 ** np.linspace(-span, span, 9)
        grid = [Calibration(float(best.scale * s), float(best.floor * f)) for s in factors for f in factors]
        best = min(grid, key=lambda item: surprise(errors, item.apply(moments)))
        span /= 4
    return best


def surprise(errors: Array, covariances: Array) -> float:
    """Mean negative log-likelihood of errors [n, 2] under covariances [n, 2, 2], up to factor and constant."""
    return float(np.mean(np.log(np.linalg.det(covariances)) + mahalanobis(errors, covariances)))


def mahalanobis(errors: Array, covariances: Array) -> Array:
    """Squared Mahalanobis distance of errors [n, 2] under covariances [n, 2, 2]: [n]."""
    a, b, d = covariances[:, 0, 0], covariances[:, 0, 1], covariances[:, 1, 1]
    x, y = errors[:, 0], errors[:, 1]
    distance: Array = (d * x * x - 2 * b * x * y + a * y * y) / (a * d - b * b)
    return distance
