"""What a covariance and a score say: the ellipse that holds a share of the errors, and how far a face can be trusted.

Errors have heavier tails than a Gaussian of the same covariance: most are smaller than it says, a few much larger. A
Student distribution with so many degrees of freedom describes them, and each group of points has its own.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

GAUSSIAN: Final = math.inf
"""The degrees of freedom of errors without heavy tails."""

EVEN_CHANCE: Final = 0.084
"""Expected error over the face's extent at which every second face's points fail; measured on disturbed faces."""
STEEPNESS: Final = 6.0
"""How soon about EVEN_CHANCE failures begin and successes end."""
MOST: Final = 1e6
"""Times EVEN_CHANCE; beyond it a score is zero for all that matters."""


def squared_radius(share: float, degrees_of_freedom: float = GAUSSIAN) -> float:
    """The squared Mahalanobis distance, under the covariance, within which that share of the errors lies.

    The p % ellipse of a point is that of its covariance, its half-axes multiplied by the root of this. `share` lies in
    [0, 1), `degrees_of_freedom` above 2, where the covariance of a Student distribution is finite; ValueError
    otherwise. In the plane the distribution has a closed form: (v - 2) ((1 - p)^(-2/v) - 1), and -2 ln(1 - p) for a
    Gaussian.
    """
    if not 0 <= share < 1 or not degrees_of_freedom > 2:
        raise ValueError(f"there is no ellipse of share {share} under {degrees_of_freedom} degrees of freedom")
    surprise = -2 * math.log1p(-share)
    if math.isinf(degrees_of_freedom):
        return surprise
    return (degrees_of_freedom - 2) * math.expm1(surprise / degrees_of_freedom)


def share_within(squared_distance: Floats, degrees_of_freedom: float = GAUSSIAN) -> Floats:
    """The inverse of `squared_radius`: the share of the errors that lies nearer, of distances of any shape."""
    distance = np.asarray(squared_distance, np.float64)
    v = degrees_of_freedom
    surprise: Floats = distance if math.isinf(v) else v * np.log1p(distance / (v - 2))
    share: Floats = -np.expm1(-surprise / 2)
    return share


def face_score(points: Floats, covariances: Floats) -> Floats:
    """About how likely a face's points err by less than 10 % of the inter-ocular distance: [...] in [0, 1].

    From points [..., P, 2] and their calibrated covariances [..., P, 2, 2], in pixels of any kind: the root mean square
    of the expected errors, over the root of the area of the points' box, through a logistic curve of its logarithm.
    """
    extent = np.ptp(np.asarray(points, np.float64), axis=-2).prod(axis=-1)
    expected = np.trace(np.asarray(covariances, np.float64), axis1=-2, axis2=-1).mean(axis=-1)
    relative = np.sqrt(np.maximum(expected, 0) / np.maximum(extent, 1e-9))
    score: Floats = 1 / (1 + np.minimum(relative / EVEN_CHANCE, MOST) ** STEEPNESS)
    return score
