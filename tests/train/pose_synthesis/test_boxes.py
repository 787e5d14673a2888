from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from train.datasets.face import AnnotatedFace
from train.pose_synthesis.boxes import box_margins, detector_box


def face(box: list[float]) -> AnnotatedFace:
    """A face whose tight box is (100, 100) to (180, 200)."""
    return AnnotatedFace(Path("a.jpg"), np.array([[100.0, 150.0], [180.0, 200.0], [140.0, 100.0]]), np.array(box))


def test_margins_are_shares_of_the_points_height() -> None:
    assert box_margins([face([98, 70, 185, 200])]) == pytest.approx(np.array([[0.02, 0.3, 0.05, 0]]))


def test_rare_margins_are_moved_inwards() -> None:
    margins = box_margins([face([100, 70, 180, 200])] * 99 + [face([0, 0, 400, 400])])
    assert margins == pytest.approx(np.tile([0, 0.3, 0, 0], (100, 1)))


def test_a_box_has_the_margins_of_some_face() -> None:
    margins = np.array([[0.1, 0.3, 0, 0], [0, 0.2, 0.1, 0.05]])
    points = np.array([[10.0, 20.0], [50.0, 70.0]])
    rng = np.random.default_rng(0)
    boxes = {tuple(detector_box(points, margins, rng).tolist()) for _ in range(20)}
    assert boxes == {(5.0, 5.0, 50.0, 70.0), (10.0, 10.0, 55.0, 72.5)}  # half of the draws each
