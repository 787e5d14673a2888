import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from service.detector import HaarDetector, YuNetDetector, enlarge, haar_to_face, largest_first, overlaps, reduce
from tests.conftest import ROOT
from tests.fakes import picture

astronaut = pytest.importorskip("skimage.data", reason="scikit-image ships the portrait").astronaut

FACE = (170.0, 60.0, 280.0, 200.0)
"""Around the astronaut's face, by eye."""


@pytest.fixture(scope="module")
def yunet():
    path = Path(os.environ.get("LANDMARKS_YUNET_PATH", ROOT.parent / "shared/models/face_detection_yunet_2023mar.onnx"))
    if not path.is_file():
        pytest.skip(f"no YuNet at {path}: set LANDMARKS_YUNET_PATH")
    return YuNetDetector(path)


def centre(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def check_astronaut(detector, scale):
    image = cv2.resize(astronaut(), None, fx=scale, fy=scale)
    boxes, scores = detector.detect(image)
    x, y = centre(boxes[0] / scale)
    assert FACE[0] < x < FACE[2]
    assert FACE[1] < y < FACE[3]
    assert 60 * scale < boxes[0, 2] - boxes[0, 0] < 130 * scale
    assert 0.4 < scores[0] <= 1


@pytest.mark.parametrize("scale", [1, 4])
def test_the_cascade_finds_the_astronaut_at_any_size(scale):
    check_astronaut(HaarDetector(), scale)


@pytest.mark.parametrize("scale", [1, 4])
def test_yunet_finds_the_astronaut_at_any_size(yunet, scale):
    check_astronaut(yunet, scale)


def test_no_face_and_tiny_images_give_nothing():
    for image in (picture(), picture(1, 1), picture(3, 500)):
        boxes, scores = HaarDetector().detect(image)
        assert boxes.shape == (0, 4)
        assert scores.shape == (0,)


def test_yunet_gives_nothing_for_tiny_images(yunet):
    for image in (picture(1, 1), picture(3, 500)):
        assert yunet.detect(image).boxes.shape == (0, 4)


def test_detectors_may_be_called_from_several_threads():
    detector = HaarDetector()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(detector.detect, [astronaut()] * 8))
    for answer in answers:
        np.testing.assert_array_equal(answer.boxes, answers[0].boxes)


def test_a_missing_yunet_file_is_told_of_at_once(tmp_path):
    with pytest.raises(ValueError, match="no YuNet file"):
        YuNetDetector(tmp_path / "none.onnx")


def test_a_square_becomes_a_box_by_hand():
    # the square of pixels 0 to 99 is centred on 49.5; 0.835 of it wide, 1.107 high, 0.012 lower
    np.testing.assert_allclose(haar_to_face(np.array([[0.0, 0, 100, 100]])), [[7.75, -4.65, 91.25, 106.05]])


def test_reduced_pixels_keep_their_edges():
    image = np.zeros((1000, 1600, 3), np.uint8)
    small = reduce(image)
    assert small.shape == (500, 800, 3)
    # the whole picture stays the whole picture
    np.testing.assert_allclose(
        enlarge(np.array([[-0.5, -0.5, 799.5, 499.5]]), small, image), [[-0.5, -0.5, 1599.5, 999.5]]
    )
    assert reduce(np.zeros((1, 9000, 3), np.uint8)).shape == (1, 800, 3)


def test_the_largest_comes_first_and_ties_have_an_order():
    boxes = np.array([[5.0, 0, 6, 1], [0, 0, 1, 1], [0, 0, 2, 2], [3, 0, 4, 1]])
    ordered = largest_first(boxes, np.array([0.5, 0.5, 0.1, 0.9]))
    assert ordered.boxes[:, 0].tolist() == [0, 3, 0, 5]
    assert ordered.scores.tolist() == [0.1, 0.9, 0.5, 0.5]


def test_overlap_counts_pixels_to_their_edges():
    assert overlaps(np.array([9.4, 0, 20, 5]), 10, 10)
    assert not overlaps(np.array([9.5, 0, 20, 5]), 10, 10)
    assert not overlaps(np.array([-9, 0, -0.5, 5]), 10, 10)


def test_the_cascades_boxes_look_like_the_boxes_of_training(test_data):
    """On photographs that the calibration was not fitted on: median overlap with YuNet's boxes of at least 0.8."""
    lines = (test_data / "faces300w/annotations.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] == "val"][::12]
    detector, best = HaarDetector(), []
    for row in rows:
        image = cv2.imread(str(test_data / "faces300w/images" / row["image"]))
        for box in detector.detect(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)).boxes:
            best.append(max(iou(box, np.array(known["xyxy"])) for known in row["boxes"]))
    assert np.median([overlap for overlap in best if overlap > 0.2]) >= 0.8


def iou(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.prod(np.maximum(high - low, 0))
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)
