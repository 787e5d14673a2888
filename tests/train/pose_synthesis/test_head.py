"""Heads whose shape and pose are known: what the fit finds, and where the points are carried."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from landmarks.layout import WFLW98
from tests.train.pose_synthesis.known import KnownHead, error, far_jaw
from train.pose_synthesis.fit import fit
from train.pose_synthesis.head import Head, head_of
from train.pose_synthesis.model import FaceModel
from train.pose_synthesis.render import rasterize


@pytest.fixture(scope="module")
def head(plain: KnownHead) -> Head:
    return head_of(plain.model, plain.points(plain.pose))


def test_the_mean_face_is_found_where_it_is(plain: KnownHead, head: Head) -> None:
    assert head.pose.angles == pytest.approx((6, -4, 3), abs=0.5)
    assert head.pose.scale == pytest.approx(10, rel=0.01)
    assert head.misfit < 0.02


@pytest.mark.parametrize("yaw", [-90, -60, -30, 30, 60, 90])
def test_points_of_the_mean_face_are_carried_to_their_places(plain: KnownHead, head: Head, yaw: float) -> None:
    found, truth = head.carried(head.at(yaw, -4)).points, plain.points(plain.at(yaw, -4))
    assert error(found, truth).mean() < 0.5
    assert error(found, truth).max() < 2


def test_faces_of_other_shapes_and_expressions_are_found(model: FaceModel) -> None:
    """From one picture the depth of a face is a guess: these are the errors of that guess."""
    known = [KnownHead.drawn(model, seed, (5.0 * seed - 10, 3.0 * seed - 8, 2.0 * seed)) for seed in range(5)]
    heads = [head_of(model, one.points(one.pose)) for one in known]
    angles = np.array([head.pose.angles for head in heads]) - [one.pose.angles for one in known]
    assert abs(angles[:, 0]).mean() < 1
    assert abs(angles).max() < 4
    assert max(head.misfit for head in heads) < 0.1
    turned = [
        error(head.carried(head.at(60, 0)).points, one.points(one.at(60, 0)))
        for head, one in zip(heads, known, strict=True)
    ]
    assert np.mean(turned) < 3


def test_no_turn_leaves_every_point_exactly_where_it_was_annotated(model: FaceModel) -> None:
    known = KnownHead.drawn(model, 7, (12, 5, -8))
    annotated = known.points(known.pose) + np.random.default_rng(0).normal(0, 1.5, (98, 2))
    head = head_of(model, annotated)
    assert head.carried(head.pose).points == pytest.approx(annotated, abs=1e-6)
    yaw, pitch, _ = head.pose.angles
    assert head.carried(head.at(yaw, pitch)).points == pytest.approx(annotated, abs=1e-6)


def test_a_mirrored_face_is_carried_to_mirrored_points(model: FaceModel) -> None:
    known = KnownHead.drawn(model, 3, (4, -6, 7))
    annotated = known.points(known.pose)
    mirrored = annotated[list(WFLW98.flip)] * [-1, 1] + [379, 0]
    head, other = head_of(model, annotated), head_of(model, mirrored)
    yaw, pitch, roll = head.pose.angles
    assert other.pose.angles == pytest.approx((-yaw, pitch, -roll), abs=0.1)
    found, expected = other.carried(other.at(-50, 10)).points, head.carried(head.at(50, 10)).points
    assert error(found, expected[list(WFLW98.flip)] * [-1, 1] + [379, 0]).max() < 1


@pytest.mark.parametrize(("yaw", "side"), [(35, 1), (-35, -1), (50, 1), (-50, -1)])
def test_the_far_cheeks_contour_lies_on_the_outline_of_what_is_seen(
    plain: KnownHead, head: Head, yaw: float, side: int
) -> None:
    pose = head.at(yaw, -4)
    turned = head.turned(pose)
    covered = rasterize(pose.to_pixels(turned), turned[:, 2], head.model.triangles, (500, 500)).covered
    inside = cv2.distanceTransform(covered.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - covered.astype(np.uint8), cv2.DIST_L2, 5)
    x, y = head.carried(pose).points[far_jaw(side)].round().astype(int).T
    assert (inside + outside)[y, x].max() < 3  # pixels; the face is 200 wide


def test_points_that_the_nose_hides_stand_on_the_midline(head: Head) -> None:
    carried = head.carried(head.at(80, -4))
    right, left = range(60, 68), range(68, 76)
    assert carried.slipped[list(left)].all()
    assert not carried.slipped[list(right)].any()
    eye, bridge = carried.points[list(left), 0], carried.points[51, 0]
    assert abs(eye - bridge).max() < 8  # pixels, of 91 between the eyes


def test_turned_right_the_subjects_right_side_is_near(head: Head) -> None:
    """At positive yaw the face looks to the picture's right, and its right ear is in front."""
    points = head.carried(head.at(60, -4)).points
    nose, right_ear, left_ear = points[54, 0], points[0, 0], points[32, 0]
    assert nose - right_ear > 3 * abs(left_ear - nose)


def test_the_neck_ends_where_it_began(head: Head) -> None:
    still = head.model.turning == 0
    pose = head.at(70, 10)
    before, after = head.pose.project(head.vertices), pose.to_pixels(head.turned(pose))
    assert after[still] == pytest.approx(before[still], abs=1e-3)
    face = head.model.turning == 1
    assert after[face] == pytest.approx(pose.project(head.vertices)[face], abs=1e-3)


def test_points_that_no_face_has_do_not_stop_the_fit(model: FaceModel) -> None:
    points = np.random.default_rng(1).uniform(0, 300, (98, 2))
    assert np.isfinite(fit(model, points).pose.project(model.mean)).all()
    assert head_of(model, points).misfit > 0.5


def test_real_faces_are_fitted_to_within_a_few_percent(model: FaceModel, wflw_shapes: np.ndarray) -> None:
    shapes = wflw_shapes[::176].astype(np.float64)
    misfits = [head_of(model, shape).misfit for shape in shapes]
    assert len(shapes) == 10
    assert np.median(misfits) < 0.25  # centimetres: 2.7 % of the inter-ocular distance
    assert max(misfits) < 0.6
