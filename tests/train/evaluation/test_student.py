"""The Student distribution of the errors, on distances drawn from a known one."""

from __future__ import annotations

import numpy as np
import pytest

from train.evaluation.metrics import Array
from train.evaluation.student import Tails, fit_power, fit_scale_factor, fit_tails


def drawn(scale: float, freedom: float, count: int = 20_000, seed: int = 0) -> Array:
    """Squared distances of draws from a Student distribution in the plane: Gaussian ones divided by a random length."""
    rng = np.random.default_rng(seed)
    gaussian = (rng.standard_normal((count, 2)) ** 2).sum(axis=1)
    return scale * gaussian * freedom / rng.chisquare(freedom, count)


def test_tails_are_recovered() -> None:
    found = fit_tails(drawn(0.5, 6.0))
    assert found.degrees_of_freedom == pytest.approx(6, rel=0.2)
    # the covariance of a Student distribution is v / (v - 2) times its scale matrix
    assert found.scale == pytest.approx(0.5 * 6 / 4, rel=0.05)


def test_gaussian_errors_have_hardly_any_tails() -> None:
    found = fit_tails(drawn(2.0, 1e6))
    assert found.degrees_of_freedom > 30
    assert found.scale == pytest.approx(2.0, rel=0.05)


def test_the_power_of_the_spreads_is_recovered() -> None:
    spreads = np.exp(np.random.default_rng(1).uniform(-0.5, 0.5, 400))
    factor = spreads[:, None] ** 1.3
    groups = {
        "heavy": factor * drawn(1.5, 4.0, 4000).reshape(400, 10),
        "light": factor * drawn(0.2, 50.0, 2000).reshape(400, 5),
    }
    groups["light"][:7] = np.nan
    assert fit_power(groups, spreads) == pytest.approx(1.3, abs=0.15)
    assert fit_power({"alike": drawn(1.0, 9.0, 4000).reshape(400, 10)}, spreads) == pytest.approx(0.0, abs=0.15)


def test_one_factor_for_several_groups() -> None:
    groups = {
        "heavy": (Tails(3.0, 4.0), 2 * drawn(1.5, 4.0).reshape(-1, 10)),
        "light": (Tails(1.0, 100.0), np.append(2 * drawn(0.98, 100.0), np.nan).reshape(1, -1)),
    }
    assert fit_scale_factor(groups) == pytest.approx(2.0, rel=0.05)
