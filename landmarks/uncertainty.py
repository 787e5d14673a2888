"""How covariances and scores are interpreted: confidence ellipses of points, and the reliability of a face.

The errors of points have heavier tails than a Gaussian of the same covariance: most are smaller than it predicts, and a
few are much larger. A Student t distribution describes them, whose degrees of freedom each group of points has of its
own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from landmarks.layout import PointLayout

Floats = NDArray[np.floating[Any]]

GAUSSIAN: Final = math.inf
"""The degrees of freedom of errors without heavy tails (the Student t distribution is then a Gaussian)."""

SCORE_MIDPOINT: Final = 0.0542
"""Expected error, as a share of the face's extent, at which the score is 0.5: where half of the faces fail. Measured on
corrupted images."""
SCORE_STEEPNESS: Final = 7.45
"""Slope of the score over the logarithm of the expected error."""
MAX_RATIO: Final = 1e6
"""Limit of the expected error as a multiple of SCORE_MIDPOINT, so that its power stays finite; the score is 0 there."""
MAX_BEYOND: Final = 0.05
"""Share of a face's points that may lie beyond the edges of a picture that does not cut it."""
MAX_LOGIT: Final = 50.0
"""Limit of a plausibility's logit, so that its exponential stays finite."""


def squared_radius(share: float, degrees_of_freedom: float = GAUSSIAN) -> float:
    """The squared Mahalanobis distance, under the covariance, within which that share of the errors lies.

    The p % ellipse of a point is that of its covariance with its half-axes multiplied by the square root of this.
    `share` must be in [0, 1), and `degrees_of_freedom` above 2, where the covariance of a Student t distribution is
    finite; ValueError otherwise. In two dimensions there is a closed form: (v - 2) ((1 - p)^(-2/v) - 1), and
    -2 ln(1 - p) for a Gaussian.
    """
    if not 0 <= share < 1 or not degrees_of_freedom > 2:
        raise ValueError(f"there is no ellipse of share {share} under {degrees_of_freedom} degrees of freedom")
    surprise = -2 * math.log1p(-share)
    if math.isinf(degrees_of_freedom):
        return surprise
    return (degrees_of_freedom - 2) * math.expm1(surprise / degrees_of_freedom)


def share_within(squared_distance: Floats, degrees_of_freedom: float = GAUSSIAN) -> Floats:
    """The inverse of `squared_radius`: the share of the errors within squared distances of any shape."""
    distance = np.asarray(squared_distance, np.float64)
    v = degrees_of_freedom
    surprise: Floats = distance if math.isinf(v) else v * np.log1p(distance / (v - 2))
    share: Floats = -np.expm1(-surprise / 2)
    return share


@dataclass(frozen=True)
class Plausibility:
    """The probability that an answer is one for a face of true proportions: a logistic regression on its features.

    Of a picture that is squeezed in one direction a network answers with points that are pulled towards those of a face
    of true proportions, and with covariances that seem sure of them. How the points lie and which covariances are wide
    tells such an answer from others.
    """

    weights: tuple[float, ...]
    """[3 P], of `features_of`."""
    bias: float

    def __post_init__(self) -> None:
        if not self.weights or not all(map(math.isfinite, (*self.weights, self.bias))):
            raise ValueError("a plausibility needs finite weights and a finite bias")

    @cached_property
    def _weights(self) -> Floats:
        return np.array(self.weights)

    def __call__(self, features: Floats) -> Floats:
        """Features [..., 3 P] -> probabilities [...]."""
        logits = features @ self._weights + self.bias
        probability: Floats = 1 / (1 + np.exp(-np.clip(logits, -MAX_LOGIT, MAX_LOGIT)))
        return probability


@dataclass(frozen=True)
class FaceScorer:
    """How reliable a network's answer for a face is."""

    layout: PointLayout
    plausibility: Plausibility | None = None
    """None where the network does not state it: the score then does not tell squeezed faces from others."""

    def __call__(self, points: Floats, covariances: Floats, cut: NDArray[np.bool_] | None = None) -> Floats:
        """Approximate probability that a face's points err by less than 10 % of the inter-ocular distance: [...].

        From points [..., P, 2] and their calibrated covariances [..., P, 2, 2] in the same pixels: the root mean square
        of the expected errors, divided by the square root of the area of the points' bounding box, through a logistic
        function of its logarithm; times the plausibility, except of faces that the picture's edge cuts (`cut` [...], of
        `is_cut`; None: of none). Half a face is answered with points that lie, and covariances that widen, as those of
        a squeezed one do.
        """
        points, variances = np.asarray(points, np.float64), np.trace(np.asarray(covariances, np.float64), 0, -2, -1)
        extent = np.ptp(points, axis=-2).prod(axis=-1)
        relative = np.sqrt(np.maximum(variances.mean(axis=-1), 0) / np.maximum(extent, 1e-9))
        score: Floats = 1 / (1 + np.minimum(relative / SCORE_MIDPOINT, MAX_RATIO) ** SCORE_STEEPNESS)
        if self.plausibility is None:
            return score
        plausibility = self.plausibility(features_of(points, covariances, self.layout))
        return score * (plausibility if cut is None else np.where(cut, 1.0, plausibility))


def is_cut(points: Floats, width: int, height: int) -> NDArray[np.bool_]:
    """Whether an edge of a picture cuts the face with points [..., P, 2] in its pixels: [...]."""
    beyond = ((points < -0.5) | (points > np.array([width, height]) - 0.5)).any(axis=-1)
    cut: NDArray[np.bool_] = beyond.mean(axis=-1) > MAX_BEYOND
    return cut


def features_of(points: Floats, covariances: Floats, layout: PointLayout) -> Floats:
    """What `Plausibility` judges faces by: [..., 3 P], which moving, enlarging or rotating a face leaves as they are.

    From points [..., P, 2] and covariances [..., P, 2, 2]: how far each point lies to the right of the points' mean,
    then how far below it, in root mean squares of the distances from it on a face that is upright; then the logarithms
    of the expected errors in the same unit. A layout without `upright` counts as upright.
    """
    centered = np.asarray(points, np.float64)
    centered = centered - centered.mean(axis=-2, keepdims=True)
    size = np.maximum(np.sqrt((centered**2).sum(axis=-1).mean(axis=-1)), 1e-9)[..., None]
    x, y = centered[..., 0] / size, centered[..., 1] / size
    if layout.upright is not None:
        upper, lower = (np.stack([x[..., part], y[..., part]]).mean(axis=-1) for part in map(list, layout.upright))
        down = lower - upper
        down = down / np.maximum(np.sqrt((down**2).sum(axis=0)), 1e-9)
        (dx, dy) = down[..., None]
        x, y = x * dy - y * dx, x * dx + y * dy
    variances = np.trace(np.asarray(covariances, np.float64), 0, -2, -1)
    features: Floats = np.concatenate([x, y, 0.5 * np.log(np.maximum(variances, 1e-12)) - np.log(size)], axis=-1)
    return features
