from __future__ import annotations

import numpy as np
import pytest

from landmarks.layout import WFLW98
from train.datasets.layouts import AFLW19, COCO17, COFW29, IBUG68
from train.evaluation.metrics import (
    Array,
    auroc,
    group_nme,
    inter_ocular,
    inter_pupil,
    mahalanobis,
    oks,
    pckh,
    point_errors,
    report,
)


def faces_with_error(*errors: float) -> tuple[Array, Array]:
    """Faces with an inter-ocular distance of 50 whose every point is off by a share of it."""
    truth = np.zeros((len(errors), 98, 2))
    truth[:, 72] = [30, 40]
    return truth + np.array(errors)[:, None, None] * [50.0, 0.0], truth


# ---------------------------------------------------------------- lengths


def test_inter_ocular_by_hand() -> None:
    assert inter_ocular(faces_with_error(0.0)[1], WFLW98).tolist() == [50.0]
    points = np.zeros((1, 68, 2))
    points[0, 45] = [0, 7]
    assert inter_ocular(points, IBUG68).tolist() == [7.0]


def test_inter_pupil_is_between_the_means_of_the_eyes() -> None:
    points = np.zeros((1, 68, 2))
    points[0, 42:48] = [[30, 30], [30, 50], [30, 40], [30, 40], [20, 40], [40, 40]]
    assert inter_pupil(points, IBUG68).tolist() == [50.0]


def test_inter_pupil_is_between_the_pupils_where_they_are_annotated() -> None:
    points = np.zeros((1, 98, 2))
    points[0, 97] = [6, 8]
    assert inter_pupil(points, WFLW98).tolist() == [10.0]
    points = np.zeros((1, 29, 2))
    points[0, 16] = [6, 8]
    assert inter_pupil(points, COFW29).tolist() == [10.0]


def test_a_length_that_a_layout_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="aflw19 has no inter-ocular"):
        inter_ocular(np.zeros((1, 19, 2)), AFLW19)
    with pytest.raises(ValueError, match="coco17 has no inter-pupil"):
        inter_pupil(np.zeros((1, 17, 2)), COCO17)


# ---------------------------------------------------------------- figures


def test_report_by_hand() -> None:
    predicted, truth = faces_with_error(0.02, 0.06, 0.14)
    figures = report(point_errors(predicted, truth, np.array([50.0, 50.0, 50.0])))
    assert figures.nme == pytest.approx(100 * (0.02 + 0.06 + 0.14) / 3)
    assert figures.fr10 == pytest.approx(100 / 3)
    # areas under the three steps: (0.10 - 0.02), (0.10 - 0.06) and none, over 0.10 and three faces
    assert figures.auc10 == pytest.approx((0.08 + 0.04) / 0.10 / 3)
    assert figures.faces == 3


def test_points_nobody_annotated_do_not_count() -> None:
    errors = np.array([[0.02, np.nan, 0.04], [0.20, 0.20, np.nan]])
    figures = report(errors)
    assert figures.nme == pytest.approx(100 * (0.03 + 0.20) / 2)
    assert figures.fr10 == pytest.approx(50)
    assert figures.auc10 == pytest.approx(0.07 / 0.10 / 2)


def test_group_nme_by_hand() -> None:
    errors = np.array([[0.02, np.nan, 0.04], [0.20, 0.30, np.nan]])
    assert group_nme(errors, (0, 1)) == pytest.approx(100 * (0.02 + 0.20 + 0.30) / 3)
    assert group_nme(errors[:1], (1,)) is None


# ---------------------------------------------------------------- bodies


def test_pckh_by_hand() -> None:
    errors = np.full((2, 16), np.nan)
    errors[0, [0, 9]] = [0.5, 0.6]
    errors[1, [0, 15]] = [0.1, 0.05]
    assert pckh(errors, 0.5) == pytest.approx(75)
    assert pckh(errors, 0.1) == pytest.approx(50)


def test_pckh_leaves_out_pelvis_and_thorax() -> None:
    errors = np.full((1, 16), 0.2)
    errors[0, [6, 7]] = 9.0
    assert pckh(errors, 0.5) == 100
    errors[0, [joint for joint in range(16) if joint not in (6, 7)]] = np.nan
    assert pckh(errors, 0.5) is None


def test_oks_by_hand() -> None:
    """exp(-d^2 / (2 area k^2)) with k twice the sigma: for the nose, d of 2 * 0.026 roots of the area gives e^-1/2."""
    errors = np.full((2, 17), np.nan)
    errors[0, 0] = 0.052
    errors[1, [0, 16]] = [0.0, 0.178 * 2]
    assert oks(errors) == pytest.approx([np.exp(-0.5), (1 + np.exp(-2)) / 2])


# ---------------------------------------------------------------- uncertainty


def test_mahalanobis_by_hand() -> None:
    covariance = np.array([[[4.0, 0.0], [0.0, 9.0]]])
    assert mahalanobis(np.array([[2.0, 3.0]]), covariance).tolist() == [2.0]


def test_auroc_by_hand() -> None:
    scores = np.array([0.9, 0.2, 0.5, 0.5, 0.8])
    failed = np.array([False, True, True, False, False])
    # of the six pairs of a failed face and another, five are ordered rightly and one is a tie
    assert auroc(scores, failed) == pytest.approx(5.5 / 6)
    assert auroc(-scores, failed) == pytest.approx(0.5 / 6)


def test_without_failures_there_is_nothing_to_rank() -> None:
    assert auroc(np.array([0.1, 0.2]), np.array([False, False])) is None
    assert auroc(np.array([0.1, 0.2]), np.array([True, True])) is None
