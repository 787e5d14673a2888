from __future__ import annotations

import numpy as np
import pytest

from train.datasets.boxes import area_of, iou, size_of

BOXES = np.array([[10.0, 20.0, 14.0, 29.0], [0.0, 0.0, 10.0, 10.0]])


def test_a_boxs_size_is_the_root_of_its_area() -> None:
    assert area_of(BOXES).tolist() == [36.0, 100.0]
    assert size_of(BOXES).tolist() == [6.0, 10.0]


def test_overlaps_of_each_box_with_each_other_one() -> None:
    # 5 x 10 of 100 + 100 - 50; the same box; none in common
    others = np.array([[5.0, 0.0, 15.0, 10.0], [0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
    assert iou(BOXES[1:], others).tolist() == [[pytest.approx(1 / 3), 1.0, 0.0]]
    assert iou(BOXES, others).shape == (2, 3)
    assert iou(BOXES[:0], others).shape == (0, 3)
