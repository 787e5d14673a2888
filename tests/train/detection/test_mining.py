"""What counts as a detector's mistake, and that it finds its way to the photograph it was made in."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the training dependencies are not installed")

from landmarks.detection import Detections
from train.detection.mining import mine, mistakes, with_mistakes
from train.detection.photographs import Photograph

FOUND = [0.0, 0.0, 40.0, 50.0]
UNSURE = [100.0, 0.0, 140.0, 50.0]
MISSED = [200.0, 0.0, 240.0, 50.0]
DOUBTFUL = [300.0, 0.0, 340.0, 50.0]
NOTHING = [400.0, 0.0, 440.0, 50.0]
FAINT = [500.0, 0.0, 540.0, 50.0]


def photograph(name: str = "a.png") -> Photograph:
    """Three faces to find, and one that need not be found."""
    return Photograph(Path(name), np.array([FOUND, UNSURE, MISSED, DOUBTFUL]), np.array([0.9, 0.9, 0.9, 0.5]))


def found() -> Detections:
    boxes = np.array([FOUND, UNSURE, DOUBTFUL, NOTHING, FAINT])
    return Detections(boxes, np.array([0.95, 0.89, 0.9, 0.2, 0.19]))


def test_faces_that_are_none_and_faces_not_surely_found() -> None:
    assert mistakes(found(), photograph()).tolist() == [NOTHING, UNSURE, MISSED]


def test_none_where_there_is_nothing() -> None:
    empty = Detections(np.zeros((0, 4)), np.zeros(0))
    assert mistakes(empty, Photograph(Path("x.png"), np.zeros((0, 4)), np.zeros(0))).shape == (0, 4)


def test_they_are_kept_by_the_photographs_names(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.full((8, 8 if name == "a.png" else 16, 3), 90, np.uint8))
    photos = [photograph(str(tmp_path / "a.png")), Photograph(tmp_path / "b.png", np.zeros((0, 4)), np.zeros(0))]
    nothing = Detections(np.zeros((0, 4)), np.zeros(0))
    mine(lambda image: found() if image.shape[1] == 8 else nothing, photos, tmp_path / "mistakes.json")

    assert json.loads((tmp_path / "mistakes.json").read_text()) == {"a.png": [NOTHING, UNSURE, MISSED]}
    first, second = with_mistakes(photos, tmp_path / "mistakes.json")
    assert first.mistakes.tolist() == [NOTHING, UNSURE, MISSED]
    assert second.mistakes.shape == (0, 4)
    assert photos[0].mistakes.shape == (0, 4)
