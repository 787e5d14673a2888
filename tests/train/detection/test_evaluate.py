"""Which detections are hits, false or ignored, and how the threshold is chosen."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the training dependencies are not installed")

from landmarks.detection import Detections
from train.detection.evaluate import choose_threshold, match, match_all, metrics_at, recall_by_false_boxes
from train.detection.images import BoxedImage

SURE = [0.0, 0.0, 40.0, 50.0]
DOUBTFUL = [100.0, 0.0, 140.0, 50.0]
SMALL = [200.0, 0.0, 218.0, 23.0]
SLIM = [300.0, 0.0, 320.0, 24.0]
NOWHERE = [400.0, 0.0, 440.0, 50.0]


def boxed_image() -> BoxedImage:
    """A face to find, one of a low score, one too small, one whose longer side is just long enough."""
    return BoxedImage(Path("x.png"), np.array([SURE, DOUBTFUL, SMALL, SLIM]), np.array([0.9, 0.79, 0.9, 0.8]))


def found(*boxes: list[float], scores: list[float]) -> Detections:
    return Detections(np.array(boxes, np.float64).reshape(-1, 4), np.array(scores))


def moved(box: list[float], right: float) -> list[float]:
    return [box[0] + right, box[1], box[2] + right, box[3]]


def test_hits_misses_and_ignored_boxes() -> None:
    matches = match(found(NOWHERE, SURE, DOUBTFUL, SMALL, scores=[0.5, 0.9, 0.8, 0.7]), boxed_image())
    assert matches.faces == 2
    assert matches.scores.tolist() == [0.9, 0.8, 0.7, 0.5]
    assert matches.matched.tolist() == [0, -1, -1, -1]
    assert matches.false.tolist() == [False, False, False, True]
    row = metrics_at([matches], 0.0)
    assert (row.recall, row.false_per_photograph, row.mean_iou) == (0.5, 1.0, 1.0)


def test_a_second_box_about_the_same_face_is_false() -> None:
    matches = match(found(moved(SURE, 2), SURE, scores=[0.9, 0.8]), boxed_image())
    assert matches.matched.tolist() == [0, -1]
    assert matches.false.tolist() == [False, True]


def test_a_box_about_a_doubtful_face_is_never_false() -> None:
    matches = match(found(DOUBTFUL, moved(DOUBTFUL, 2), scores=[0.9, 0.8]), boxed_image())
    assert not matches.false.any()


def test_an_iou_of_a_half_is_enough_and_less_is_not() -> None:
    """Moved by 13 of 40 pixels: 27 / 53 = 0.509; by 14: 26 / 54 = 0.481."""
    assert match(found(moved(SURE, 13), scores=[0.9]), boxed_image()).matched.tolist() == [0]
    missed = match(found(moved(SURE, 14), scores=[0.9]), boxed_image())
    assert (missed.matched.tolist(), missed.false.tolist()) == ([-1], [True])


def test_nothing_found_and_nothing_to_find() -> None:
    nothing = found(scores=[])
    assert match(nothing, boxed_image()).faces == 2
    empty = match(nothing, BoxedImage(Path("x.png"), np.zeros((0, 4)), np.zeros(0)))
    assert (empty.faces, len(empty.scores)) == (0, 0)
    assert match(found(SURE, scores=[1.0]), BoxedImage(Path("x"), np.zeros((0, 4)), np.zeros(0))).false.tolist() == [
        True
    ]


def test_the_threshold_is_the_lowest_that_keeps_false_boxes_rare() -> None:
    """Over two images: false boxes at 0.61, 0.3 and 0.2."""
    matches = [
        match(found(SURE, NOWHERE, scores=[0.5, 0.61]), boxed_image()),
        match(found(SLIM, NOWHERE, moved(NOWHERE, 100), scores=[0.4, 0.3, 0.2]), boxed_image()),
    ]
    assert choose_threshold(matches, 2.0) == 0.05
    assert choose_threshold(matches, 1.0) == 0.21
    assert choose_threshold(matches, 0.5) == 0.31
    assert choose_threshold(matches, 0.4) == 0.62
    assert [metrics_at(matches, threshold).recall for threshold in (0.05, 0.45, 0.62)] == [0.5, 0.25, 0.0]
    assert recall_by_false_boxes(matches, (0.4, 0.5, 2.0)) == {"0.4": 0.0, "0.5": 0.5, "2": 0.5}


def test_every_image_is_evaluated(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((60, 60, 3), i, np.uint8))
    images = [BoxedImage(path, np.array([SURE]), np.array([0.9])) for path in paths]
    matches = match_all(lambda image: found(*[SURE] * int(image.max()), scores=[0.5] * int(image.max())), images)
    assert [len(one.scores) for one in matches] == [0, 1, 2]
