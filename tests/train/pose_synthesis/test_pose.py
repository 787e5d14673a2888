from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.pose_synthesis.pose import Pose, align, rotation, rotation_from_vector

angle = st.floats(-80, 80)


def test_a_head_of_positive_yaw_looks_to_the_right_of_the_image() -> None:
    assert rotation(90, 0, 0) @ [0, 0, 1] == pytest.approx([1, 0, 0])


def test_a_head_of_positive_pitch_looks_up() -> None:
    assert rotation(0, 90, 0) @ [0, 0, 1] == pytest.approx([0, 1, 0])


def test_positive_roll_rotates_the_image_anticlockwise() -> None:
    assert rotation(0, 0, 90) @ [1, 0, 0] == pytest.approx([0, 1, 0])


def test_pixels_count_downwards() -> None:
    pose = Pose(rotation(0, 0, 0), 10.0, np.array([100.0, 200.0]))
    assert pose.project(np.array([1.0, 2.0, 3.0])) == pytest.approx([110, 180])


@given(angle, angle, st.floats(-170, 170))
def test_angles_are_those_of_the_rotation(yaw: float, pitch: float, roll: float) -> None:
    pose = Pose(rotation(yaw, pitch, roll), 1.0, np.zeros(2))
    assert pose.angles == pytest.approx((yaw, pitch, roll), abs=1e-6)


@given(angle, angle)
def test_rotation_keeps_the_pivot_and_the_roll(yaw: float, pitch: float) -> None:
    pose = Pose(rotation(10, -5, 20), 7.0, np.array([30.0, 40.0]))
    pivot = np.array([0.0, -5.0, 1.0])
    rotated = pose.with_angles(yaw, pitch, pivot)
    assert rotated.project(pivot) == pytest.approx(pose.project(pivot))
    assert rotated.angles == pytest.approx((yaw, pitch, 20), abs=1e-6)


def test_rotation_to_the_same_angles_changes_nothing() -> None:
    pose = Pose(rotation(10, -5, 20), 7.0, np.array([30.0, 40.0]))
    same = pose.with_angles(10, -5, np.array([1.0, 2.0, 3.0]))
    assert same.rotation == pytest.approx(pose.rotation)
    assert same.shift == pytest.approx(pose.shift)


def test_a_quarter_turn_about_the_upright_axis() -> None:
    assert rotation_from_vector(np.array([0.0, np.pi / 2, 0.0])) @ [0, 0, 1] == pytest.approx([1, 0, 0])
    assert rotation_from_vector(np.zeros(3)) == pytest.approx(np.eye(3))


@given(angle, angle, angle)
def test_the_pose_of_exact_points_is_found(yaw: float, pitch: float, roll: float) -> None:
    vertices = np.random.default_rng(0).normal(size=(20, 3))
    truth = Pose(rotation(yaw, pitch, roll), 12.0, np.array([100.0, 50.0]))
    found = align(vertices, truth.project(vertices))
    assert found.rotation == pytest.approx(truth.rotation, abs=1e-6)
    assert (found.scale, *found.shift) == pytest.approx((12, 100, 50))
