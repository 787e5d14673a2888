"""Heads of known shape and pose: what the fit finds, and where the points are in other poses."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from landmarks.layout import WFLW98
from tests.train.pose_synthesis.known import KnownHead, error, far_jaw
from train.pose_synthesis.fit import fit_model
from train.pose_synthesis.head import Head, fit_head
from train.pose_synthesis.model import FaceModel
from train.pose_synthesis.rasterizer import rasterize


@pytest.fixture(scope="module")
def head(plain: KnownHead) -> Head:
    return fit_head(plain.model, plain.points(plain.pose))


def test_the_mean_face_is_found_where_it_is(plain: KnownHead, head: Head) -> None:
    assert head.pose.angles == pytest.approx((6, -4, 3), abs=0.5)
    assert head.pose.scale == pytest.approx(10, rel=0.01)
    assert head.fit_error < 0.02


@pytest.mark.parametrize("yaw", [-90, -60, -30, 30, 60, 90])
def test_points_of_the_mean_face_are_right_in_other_poses(plain: KnownHead, head: Head, yaw: float) -> None:
    found, truth = head.posed_points(head.pose_at(yaw, -4)).points, plain.points(plain.pose_at(yaw, -4))
    assert error(found, truth).mean() < 0.5
    assert error(found, truth).max() < 2


def test_faces_of_other_shapes_and_expressions_are_found(model: FaceModel) -> None:
    """One image leaves the depth of a face uncertain: these are the errors that follow."""
    known = [KnownHead.drawn(model, seed, (5.0 * seed - 10, 3.0 * seed - 8, 2.0 * seed)) for seed in range(5)]
    heads = [fit_head(model, one.points(one.pose)) for one in known]
    angles = np.array([head.pose.angles for head in heads]) - [one.pose.angles for one in known]
    assert abs(angles[:, 0]).mean() < 1
    assert abs(angles).max() < 4
    assert max(head.fit_error for head in heads) < 0.1
    errors = [
        error(head.posed_points(head.pose_at(60, 0)).points, one.points(one.pose_at(60, 0)))
        for head, one in zip(heads, known, strict=True)
    ]
    assert np.mean(errors) < 3


def test_no_rotation_leaves_every_point_exactly_where_it_was_annotated(model: FaceModel) -> None:
    known = KnownHead.drawn(model, 7, (12, 5, -8))
    annotated = known.points(known.pose) + np.random.default_rng(0).normal(0, 1.5, (98, 2))
    head = fit_head(model, annotated)
    assert head.posed_points(head.pose).points == pytest.approx(annotated, abs=1e-6)
    yaw, pitch, _ = head.pose.angles
    assert head.posed_points(head.pose_at(yaw, pitch)).points == pytest.approx(annotated, abs=1e-6)


def test_a_mirrored_face_has_mirrored_points_in_other_poses(model: FaceModel) -> None:
    known = KnownHead.drawn(model, 3, (4, -6, 7))
    annotated = known.points(known.pose)
    mirrored = annotated[list(WFLW98.flip)] * [-1, 1] + [379, 0]
    head, other = fit_head(model, annotated), fit_head(model, mirrored)
    yaw, pitch, roll = head.pose.angles
    assert other.pose.angles == pytest.approx((-yaw, pitch, -roll), abs=0.1)
    found, expected = other.posed_points(other.pose_at(-50, 10)).points, head.posed_points(head.pose_at(50, 10)).points
    assert error(found, expected[list(WFLW98.flip)] * [-1, 1] + [379, 0]).max() < 1


@pytest.mark.parametrize(("yaw", "side"), [(35, 1), (-35, -1), (50, 1), (-50, -1)])
def test_the_far_cheeks_contour_lies_on_the_outline_of_what_is_seen(
    plain: KnownHead, head: Head, yaw: float, side: int
) -> None:
    pose = head.pose_at(yaw, -4)
    camera = head.posed_vertices(pose)
    covered = rasterize(pose.to_pixels(camera), camera[:, 2], head.model.triangles, (500, 500)).covered
    inside = cv2.distanceTransform(covered.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - covered.astype(np.uint8), cv2.DIST_L2, 5)
    x, y = head.posed_points(pose).points[far_jaw(side)].round().astype(int).T
    assert (inside + outside)[y, x].max() < 3  # pixels; the face is 200 wide


def test_points_that_the_nose_hides_lie_on_the_midline(head: Head) -> None:
    posed = head.posed_points(head.pose_at(80, -4))
    right, left = range(60, 68), range(68, 76)
    assert posed.moved[list(left)].all()
    assert not posed.moved[list(right)].any()
    eye, bridge = posed.points[list(left), 0], posed.points[51, 0]
    assert abs(eye - bridge).max() < 8  # pixels, of 91 between the eyes


def test_rotated_to_the_right_the_subjects_right_side_is_near(head: Head) -> None:
    """At positive yaw the face looks to the image's right, and its right ear is in front."""
    points = head.posed_points(head.pose_at(60, -4)).points
    nose, right_ear, left_ear = points[54, 0], points[0, 0], points[32, 0]
    assert nose - right_ear > 3 * abs(left_ear - nose)


def test_the_end_of_the_neck_does_not_move(head: Head) -> None:
    still = head.model.rotation_share == 0
    pose = head.pose_at(70, 10)
    before, after = head.pose.project(head.vertices), pose.to_pixels(head.posed_vertices(pose))
    assert after[still] == pytest.approx(before[still], abs=1e-3)
    face = head.model.rotation_share == 1
    assert after[face] == pytest.approx(pose.project(head.vertices)[face], abs=1e-3)


def test_points_that_no_face_has_do_not_stop_the_fit(model: FaceModel) -> None:
    points = np.random.default_rng(1).uniform(0, 300, (98, 2))
    assert np.isfinite(fit_model(model, points).pose.project(model.mean)).all()
    assert fit_head(model, points).fit_error > 0.5


def test_real_faces_are_fitted_to_within_a_few_percent(model: FaceModel, wflw_shapes: np.ndarray) -> None:
    shapes = wflw_shapes[::176].astype(np.float64)
    fit_errors = [fit_head(model, shape).fit_error for shape in shapes]
    assert len(shapes) == 10
    assert np.median(fit_errors) < 0.25  # centimeters: 2.7 % of the inter-ocular distance
    assert max(fit_errors) < 0.6
