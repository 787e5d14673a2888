from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks.layout import WFLW98, PointLayout
from landmarks.uncertainty import GAUSSIAN, FaceScorer, Plausibility, features_of, is_cut, share_within, squared_radius

face_score = FaceScorer(WFLW98)
UPRIGHT = PointLayout(
    "four", ("a", "b", "c", "d"), (0, 1, 2, 3), {"all": (0, 1, 2, 3)}, "box", upright=((0, 1), (2, 3))
)


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


# ---------------------------------------------------------------- plausibility

EYES_AND_MOUTH = np.array([[-2.0, 0.0], [2.0, 0.0], [-1.0, 6.0], [1.0, 6.0]])
"""Centered at (0, 3): the squares of the distances are 13, 13, 10 and 10, their mean 11.5."""
COVARIANCES = np.array([[[0.5, 0.1], [0.1, 0.5]], [[4.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], 2 * np.eye(2)])
"""Their traces: 1, 4, 2 and 4."""


def test_features_by_hand() -> None:
    size = math.sqrt(11.5)
    x, y, spread = features_of(EYES_AND_MOUTH, COVARIANCES, UPRIGHT).reshape(3, 4)
    assert x == pytest.approx(np.array([-2, 2, -1, 1]) / size)
    assert y == pytest.approx(np.array([-3, -3, 3, 3]) / size)
    assert spread == pytest.approx(np.log(np.array([1, 2, math.sqrt(2), 2]) / size))


@given(st.floats(-180, 180), st.floats(0.1, 50), st.floats(-500, 500))
def test_features_do_not_depend_on_roll_size_and_place(degrees: float, scale: float, shift: float) -> None:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = scale * np.array([[c, -s], [s, c]])
    moved = features_of(EYES_AND_MOUTH @ turn.T + shift, turn @ COVARIANCES @ turn.T, UPRIGHT)
    assert moved == pytest.approx(features_of(EYES_AND_MOUTH, COVARIANCES, UPRIGHT), abs=1e-6)


def test_features_of_several_faces_and_of_points_that_coincide() -> None:
    faces, covariances = np.stack([EYES_AND_MOUTH, 0 * EYES_AND_MOUTH]), np.stack([COVARIANCES, 0 * COVARIANCES])
    first, second = features_of(faces, covariances, UPRIGHT)
    assert first == pytest.approx(features_of(EYES_AND_MOUTH, COVARIANCES, UPRIGHT))
    assert np.isfinite(second).all()


def test_a_plausibility_is_a_logistic_function_of_the_features() -> None:
    weights = (0.0,) * 4 + (1.0, 0.0, 0.0, 0.0) + (0.0,) * 4  # the height of the first point
    plausibility = Plausibility(weights, 1.0)
    features = features_of(EYES_AND_MOUTH, COVARIANCES, UPRIGHT)
    assert plausibility(features) == pytest.approx(1 / (1 + math.exp(3 / math.sqrt(11.5) - 1)))
    assert plausibility(np.stack([features, -1e9 * features])) == pytest.approx([float(plausibility(features)), 1.0])


def test_the_score_is_multiplied_by_the_plausibility() -> None:
    narrow = Plausibility((0.0, 40.0) + (0.0,) * 10, -18.0)  # the second point is far to the right
    ignorant, scorer = FaceScorer(UPRIGHT), FaceScorer(UPRIGHT, narrow)
    faces, covariances = np.stack([EYES_AND_MOUTH, EYES_AND_MOUTH * [0.5, 1.0]]), np.stack([COVARIANCES * 1e-4] * 2)
    assert ignorant(faces, covariances) == pytest.approx([1.0, 1.0])
    assert scorer(faces, covariances) == pytest.approx([1.0, 0.0], abs=0.05)
    # half a face has points of odd proportions too
    assert scorer(faces, covariances, np.array([False, True])) == pytest.approx([1.0, 1.0], abs=0.05)


@pytest.mark.parametrize(("beyond", "cut"), [(0, False), (1, False), (2, True), (20, True)])
@pytest.mark.parametrize("place", [(-0.6, 5.0), (99.6, 5.0), (5.0, -0.6), (5.0, 49.6), (-30.0, 80.0)])
def test_an_edge_cuts_a_face_with_more_than_a_twentieth_of_its_points_beyond_it(
    beyond: int, cut: bool, place: tuple[float, float]
) -> None:
    points = np.array([(-0.4, -0.4), (99.4, 49.4)] * 10)  # in the outermost pixels of the picture
    points[:beyond] = place
    assert is_cut(points, 100, 50) == cut
    assert is_cut(np.stack([points, points * 0 + 7]), 100, 50).tolist() == [cut, False]


@pytest.mark.parametrize("values", [((), 0.0), ((math.nan,), 0.0), ((1.0,), math.inf)])
def test_a_plausibility_without_numbers_is_refused(values: tuple[tuple[float, ...], float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        Plausibility(*values)
