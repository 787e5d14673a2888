from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks.layout import WFLW98, PointLayout
from landmarks.uncertainty import GAUSSIAN, AspectRange, FaceScorer, aspect_of, share_within, squared_radius

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


# ---------------------------------------------------------------- the aspect of a face


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.asarray(points @ np.array([[c, s], [-s, c]]))


EYES_AND_MOUTH = np.array([[-2.0, 0.0], [2.0, 0.0], [-1.0, 5.0], [1.0, 5.0]])
"""Four pixels wide and five high."""


@pytest.mark.parametrize("degrees", [0, 30, 90, 180, -120])
def test_the_aspect_of_a_face_does_not_depend_on_its_roll(degrees: float) -> None:
    assert aspect_of(7 + 3 * turned(EYES_AND_MOUTH, degrees), UPRIGHT) == pytest.approx(0.8)


def test_the_aspect_of_several_faces_and_of_none() -> None:
    squeezed = EYES_AND_MOUTH * [0.5, 1.0]
    aspects = aspect_of(np.stack([EYES_AND_MOUTH, squeezed, 0 * squeezed]), UPRIGHT)
    assert aspects == pytest.approx([0.8, 0.4, 1.0])


def test_plausible_are_the_aspects_within_the_range_and_little_beyond() -> None:
    plausible = AspectRange(0.5, 2.0).plausibility(np.array([0.0, 0.25, 0.5, 1.0, 2.0, 2.0 * math.exp(0.1), 4.0]))
    assert plausible == pytest.approx([0.0, 0.0, 0.99, 1.0, 0.99, 0.5, 0.0], abs=1e-3)


@given(st.floats(0.05, 20.0), st.floats(1.0, 3.0))
def test_a_face_is_less_plausible_the_farther_its_aspect_is_from_the_range(aspect: float, factor: float) -> None:
    aspects = AspectRange(0.5, 2.0)  # 1 is in the middle
    away = aspect * factor if aspect > 1 else aspect / factor
    near, far = aspects.plausibility(np.array([aspect, away]))
    assert 0 <= far <= near <= 1


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.5, 0.7), (1.0, 1.0), (0.5, math.inf), (math.nan, 1.0)])
def test_a_range_without_aspects_is_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="range of aspects"):
        AspectRange(*ends)


def test_a_squeezed_face_has_a_low_score_where_the_network_states_its_aspects() -> None:
    covariances = np.broadcast_to(np.eye(2) * 1e-4, (2, 4, 2, 2))
    faces = np.stack([EYES_AND_MOUTH, EYES_AND_MOUTH * [0.5, 1.0]])
    ignorant, scorer = FaceScorer(UPRIGHT), FaceScorer(UPRIGHT, AspectRange(0.7, 1.5))
    assert ignorant(faces, covariances) == pytest.approx([1.0, 1.0])
    assert scorer(faces, covariances) == pytest.approx([1.0, 0.0], abs=1e-3)
    without_upright = PointLayout("four", UPRIGHT.point_names, UPRIGHT.flip, UPRIGHT.groups, "box")
    assert FaceScorer(without_upright, AspectRange(0.7, 1.5))(faces, covariances) == pytest.approx([1.0, 1.0])
