from __future__ import annotations

import numpy as np
import pytest

from train.metrics import Calibration, calibrate, inter_ocular, mahalanobis, point_errors, report


def faces_with_error(*errors: float) -> tuple[np.ndarray, np.ndarray]:
    """Faces with an inter-ocular distance of 50 whose every point is off by a share of it."""
    truth = np.zeros((len(errors), 98, 2))
    truth[:, 72] = [30, 40]
    return truth + np.array(errors)[:, None, None] * [50.0, 0.0], truth


def test_inter_ocular_by_hand() -> None:
    assert inter_ocular(faces_with_error(0.0)[1]).tolist() == [50.0]


def test_report_by_hand() -> None:
    figures = report(point_errors(*faces_with_error(0.02, 0.06, 0.14)))
    assert figures.nme == pytest.approx(100 * (0.02 + 0.06 + 0.14) / 3)
    assert figures.fr10 == pytest.approx(100 / 3)
    # areas under the three steps: (0.10 - 0.02), (0.10 - 0.06) and none, over 0.10 and three faces
    assert figures.auc10 == pytest.approx((0.08 + 0.04) / 0.10 / 3)
    assert figures.faces == 3


def test_mahalanobis_by_hand() -> None:
    covariance = np.array([[[4.0, 0.0], [0.0, 9.0]]])
    assert mahalanobis(np.array([[2.0, 3.0]]), covariance).tolist() == [2.0]


def test_calibration_finds_what_made_the_errors() -> None:
    rng = np.random.default_rng(0)
    moments = np.eye(2) * rng.uniform(0.5, 30, 4000)[:, None, None]
    spread = np.sqrt(0.6 * moments[:, 0, 0] + 2.0)
    found = calibrate(rng.standard_normal((4000, 2)) * spread[:, None], moments)
    assert found.scale == pytest.approx(0.6, rel=0.15)
    assert found.floor == pytest.approx(2.0, rel=0.25)


def test_calibration_is_applied_as_the_decoder_applies_it() -> None:
    assert Calibration(2.0, 3.0).apply(np.array([[1.0, 0.5], [0.5, 1.0]])).tolist() == [[5.0, 1.0], [1.0, 5.0]]
