"""The Student distribution of a network's errors under its second moments, fitted by maximum likelihood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import minimize_scalar

from landmarks.codec import MAX_POWER
from train.evaluation.metrics import Array

MIN_DEGREES_OF_FREEDOM: Final = 2.5
MAX_DEGREES_OF_FREEDOM: Final = 100.0
"""Range of the degrees of freedom that are tried; at the upper end the distribution is nearly Gaussian."""
EM_ITERATIONS: Final = 50
"""Iterations of expectation-maximisation, which has then converged."""


@dataclass(frozen=True)
class Tails:
    """The Student distribution of the errors about a point, relative to the heatmap's second moments."""

    scale: float
    """The covariance of the errors scaled by the second moments."""
    degrees_of_freedom: float
    """See `landmarks.uncertainty`."""


def fit_tails(distances: Array) -> Tails:
    """The distribution that makes squared Mahalanobis distances [n], under the second moments, most likely.

    For every number of degrees of freedom on a grid, the scale is found by expectation-maximisation (Lange, Little and
    Taylor, JASA 1989).
    """
    best, most_likely = Tails(1.0, MAX_DEGREES_OF_FREEDOM), -np.inf
    for freedom in np.geomspace(MIN_DEGREES_OF_FREEDOM, MAX_DEGREES_OF_FREEDOM, 25):
        scale = float(distances.mean() / 2)
        for _ in range(EM_ITERATIONS):
            scale = float((distances * (freedom + 2) / (freedom + distances / scale)).mean() / 2)
        tails = Tails(scale * freedom / (freedom - 2), float(freedom))
        if (likelihood := log_likelihood(distances, tails)) > most_likely:
            best, most_likely = tails, likelihood
    return best


def log_likelihood(distances: Array, tails: Tails) -> float:
    """The mean logarithm of the density of squared distances [n], up to a constant.

    With v degrees of freedom and a scale matrix s times the moments, the density of the squared distance d of a point
    in the plane is (1 + d / (v s))^(-v/2 - 1) / (2 s).
    """
    freedom = tails.degrees_of_freedom
    scale = tails.scale * (freedom - 2) / freedom
    return float(-np.log(scale) - (freedom / 2 + 1) * np.log1p(distances / (freedom * scale)).mean())


def fit_power(groups: Mapping[str, Array], spreads: Array) -> float:
    """The power of the spreads [faces] by which second moments are best multiplied, rounded to hundredths.

    It maximises the likelihood of the squared distances [faces, P] of all groups, each under its own `fit_tails`.
    Distances are NaN where a point is not annotated.
    """
    logarithms = np.log(spreads)[:, None]
    known = {name: ~np.isnan(distances) for name, distances in groups.items()}
    pairs = [(groups[name][mask], np.broadcast_to(logarithms, mask.shape)[mask]) for name, mask in known.items()]

    def negative_log_likelihood(power: float) -> float:
        total = 0.0
        for distances, spread in pairs:
            if len(distances):
                scaled = distances / np.exp(power * spread)
                total += power * spread.sum() - len(scaled) * log_likelihood(scaled, fit_tails(scaled))
        return total

    best = minimize_scalar(negative_log_likelihood, bounds=(0.0, MAX_POWER), method="bounded", options={"xatol": 5e-3})
    return round(float(best.x), 2)


def fit_scale_factor(groups: Mapping[str, tuple[Tails, Array]]) -> float:
    """The single factor on the scales of all groups that makes their squared distances most likely.

    `groups`: by name, a group's distribution and its squared distances [faces, P] under the second moments, NaN where
    a point is not annotated. By the same expectation-maximisation as `fit_tails`.
    """
    freedom, distances = [], []
    for tails, values in groups.values():
        known = values[~np.isnan(values)]
        # in units of the distribution's scale matrix, whose covariance is v / (v - 2) times as large
        distances.append(known / (tails.scale * (tails.degrees_of_freedom - 2) / tails.degrees_of_freedom))
        freedom.append(np.full(len(known), tails.degrees_of_freedom))
    v, d = np.concatenate(freedom), np.concatenate(distances)
    factor = 1.0
    for _ in range(EM_ITERATIONS):
        factor = float((d * (v + 2) / (v + d / factor)).mean() / 2)
    return factor
