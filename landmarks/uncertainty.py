"""How covariances and scores are interpreted: confidence ellipses of points, and the reliability of a face.

The errors of points have heavier tails than a Gaussian of the same covariance: most are smaller than it predicts, and a
few are much larger. A Student t distribution describes them, whose degrees of freedom each group of points has of its
own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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

ASPECT_MARGIN: Final = 0.10
"""How far, in the logarithm, a face's aspect lies outside the range of its network's where the score is halved."""
ASPECT_STEEPNESS: Final = 46.0
"""Slope of that factor over the logarithm of the aspect: it is 0.99 at the ends of the range."""


@dataclass(frozen=True)
class AspectRange:
    """The aspects of the faces that a network was trained on: see `aspect_of`."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < math.inf:
            raise ValueError(f"a range of aspects needs 0 < low < high, not {self.low!r} and {self.high!r}")

    def plausibility(self, aspects: Floats) -> Floats:
        """About 1 for aspects [...] within the range, falling to 0 outside it: [...], from 0 to 1."""
        middle, half = math.log(self.low * self.high) / 2, math.log(self.high / self.low) / 2
        outside = np.abs(np.log(np.clip(aspects, 1e-6, 1e6)) - middle) - half
        factor: Floats = 1 / (1 + np.exp(ASPECT_STEEPNESS * (outside - ASPECT_MARGIN)))
        return factor


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
class FaceScorer:
    """How reliable a network's answer for a face is."""

    layout: PointLayout
    aspects: AspectRange | None = None
    """None where the network does not state them: the score then ignores the aspect."""

    def __call__(self, points: Floats, covariances: Floats) -> Floats:
        """Approximate probability that a face's points err by less than 10 % of the inter-ocular distance: [...].

        From points [..., P, 2] and their calibrated covariances [..., P, 2, 2] in the same pixels: the root mean square
        of the expected errors, divided by the square root of the area of the points' bounding box, through a logistic
        function of its logarithm. A face whose aspect is that of no face, as in a picture that is squeezed, has a
        lower score: the covariances do not tell.
        """
        points = np.asarray(points, np.float64)
        extent = np.ptp(points, axis=-2).prod(axis=-1)
        expected = np.trace(np.asarray(covariances, np.float64), axis1=-2, axis2=-1).mean(axis=-1)
        relative = np.sqrt(np.maximum(expected, 0) / np.maximum(extent, 1e-9))
        score: Floats = 1 / (1 + np.minimum(relative / SCORE_MIDPOINT, MAX_RATIO) ** SCORE_STEEPNESS)
        if self.aspects is not None and self.layout.upright is not None:
            score = score * self.aspects.plausibility(aspect_of(points, self.layout))
        return score


def aspect_of(points: Floats, layout: PointLayout) -> Floats:
    """Width over height of the box of faces' upright points [..., P, 2]: [...].

    The roll is undone as `landmarks.second_pass.roll_of` has it. Points that coincide have the aspect 1. The layout
    must have `upright`.
    """
    assert layout.upright is not None
    upper, lower = (points[..., list(part), :].mean(axis=-2, keepdims=True) for part in layout.upright)
    down = lower - upper
    along = (points * down).sum(axis=-1)
    across = points[..., 0] * down[..., 1] - points[..., 1] * down[..., 0]
    width, height = np.ptp(across, axis=-1), np.ptp(along, axis=-1)
    aspect: Floats = np.divide(width, height, out=np.ones_like(width), where=height > 0)
    return aspect
