"""The error by the pose of the head."""

from __future__ import annotations

from typing import Final

import numpy as np

from landmarks.layout import WFLW98
from landmarks.second_pass import roll_of
from train.evaluation.faces_report.answers import Answers
from train.evaluation.faces_report.tables import Table, by_range
from train.evaluation.metrics import Array
from train.pose_synthesis.fit import fit_model
from train.pose_synthesis.model import FaceModel

YAWS: Final = (0, 15, 30, 45, 60, 75, 90)
PITCHES: Final = (-90, -30, -15, 0, 15, 30, 90)
ROLLS: Final = (0, 10, 20, 45, 180)
"""Degrees: the ends of the ranges that faces are sorted into. Yaw and roll count to either side."""


def by_pose(plain: Answers, model: FaceModel) -> list[Table]:
    """By the yaw and pitch of the face model that is fitted to the true points."""
    angles = np.array([fit_model(model, face.points).pose.angles for face in plain.faces])
    note = "Of the 3-D model that is fitted to the true points."
    return [
        by_range("Yaw of the head", note, np.abs(angles[:, 0]), YAWS, plain),
        by_range("Pitch of the head", f"{note} Positive: it looks up.", angles[:, 1], PITCHES, plain),
    ]


def by_roll(plain: Answers) -> Table:
    """By the roll of the true points."""
    return by_range("Roll of the head", "As the photograph shows it.", rolls_of(plain), ROLLS, plain)


def rolls_of(plain: Answers) -> Array:
    """[faces] degrees to either side."""
    return np.array([abs(np.degrees(roll_of(points, WFLW98))) for points in plain.truth])
