from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks.uncertainty import GAUSSIAN, face_score, share_within, squared_radius


def test_the_gaussian_ellipses_by_hand() -> None:
    assert squared_radius(0.5) == pytest.approx(2 * math.log(2))
    assert squared_radius(0.95) == pytest.approx(5.991, abs=1e-3)  # of tables of the chi-squared distribution
    assert squared_radius(0.0) == 0.0


def test_the_ellipse_of_four_degrees_of_freedom_by_hand() -> None:
    # (4 - 2) (0.25^(-1/2) - 1)
    assert squared_radius(0.75, 4.0) == pytest.approx(2.0)


def test_many_degrees_of_freedom_are_a_gaussian() -> None:
    assert squared_radius(0.9, 1e9) == pytest.approx(squared_radius(0.9, GAUSSIAN))


def test_heavier_tails_are_narrower_in_the_middle_and_wider_outside() -> None:
    assert squared_radius(0.5, 4.0) < squared_radius(0.5)
    assert squared_radius(0.99, 4.0) > squared_radius(0.99)


@given(st.floats(0.0, 0.999), st.one_of(st.floats(2.01, 1e6), st.just(GAUSSIAN)))
def test_the_share_within_a_radius_is_the_share(share: float, freedom: float) -> None:
    assert share_within(np.array(squared_radius(share, freedom)), freedom) == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize(("share", "freedom"), [(1.0, 5.0), (-0.1, 5.0), (0.5, 2.0), (0.5, math.nan)])
def test_an_ellipse_that_cannot_be_is_refused(share: float, freedom: float) -> None:
    with pytest.raises(ValueError, match="no ellipse"):
        squared_radius(share, freedom)


def face(variance: float, side: float = 100.0) -> tuple[np.ndarray, np.ndarray]:
    points = np.array([[0.0, 0.0], [side, side], [side / 2, 0.0]])
    return points, np.broadcast_to(np.eye(2) * variance, (3, 2, 2))


def test_a_face_of_an_even_chance() -> None:
    # an expected error of 5.42 pixels over a box of 100 by 100: 5.42 squared is two variances
    assert face_score(*face(5.42**2 / 2)) == pytest.approx(0.5)


def test_scores_fall_with_the_covariances() -> None:
    scores = [float(face_score(*face(variance))) for variance in (0.0, 1.0, 8.0, 20.0, 200.0, 1e30)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == 1.0
    assert scores[1] > 0.99
    assert scores[-1] == pytest.approx(0.0)


def test_a_score_does_not_depend_on_the_size_of_the_picture() -> None:
    assert face_score(*face(10.0)) == pytest.approx(face_score(*face(40.0, side=200.0)))


def test_points_without_extent_have_no_score() -> None:
    points, covariances = face(1.0)
    assert face_score(np.stack([points, 0 * points]), np.stack([covariances] * 2))[1] == pytest.approx(0.0)
