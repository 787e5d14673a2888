"""Pictures without people: gathered into a data set, and searched for what a detector takes for faces."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from landmarks.detection import Detections
from tests.conftest import ROOT
from train.datasets.image import RgbImage, read_image
from train.datasets.source import DataSource
from train.detection.images import load_images
from train.detection.mining import mine
from train.detection.pictures import gather, read_picture
from train.detection.teacher import complete_boxes
from train.errors import DataError

SHARED = ROOT.parent / "shared"
YUNET = SHARED / "models/face_detection_yunet_2023mar.onnx"


def noise(seed: int, height: int = 200, width: int = 300) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures in two folders: one of them twice, one too small, one that is to be left out; and a text."""
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
    for i, name in enumerate(("a/1.png", "a/2.jpg", "a/portrait.png", "b/3.png")):
        cv2.imwrite(str(tmp_path / "in" / name), noise(i))
    cv2.imwrite(str(tmp_path / "in/b/again.png"), cv2.resize(noise(0), (600, 400)))
    cv2.imwrite(str(tmp_path / "in/b/icon.png"), noise(7, 100, 100))
    (tmp_path / "in/b/text.png").write_text("not a picture")
    return tmp_path / "in"


def test_pictures_are_gathered_once_and_split(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert gather([folder], ["*portrait*"], per_folder=12, min_side=160, max_side=150, out=out) == 3
    source = DataSource("faces300w", out)
    train, val = load_images(source, "train"), load_images(source, "val")
    assert [image.path.name for image in train] == ["0000_1.jpg", "0002_3.jpg"]
    assert [image.path.name for image in val] == ["0001_2.jpg"]
    assert not any(len(image.boxes) for image in train + val)
    assert read_image(train[0].path).shape == (100, 150, 3)
    with pytest.raises(DataError, match="choose another --out"):
        gather([folder], [], 12, 160, 150, out)


def test_no_more_than_so_many_of_a_folder(folder: Path, tmp_path: Path) -> None:
    assert gather([folder / "a"], [], per_folder=2, min_side=160, max_side=1024, out=tmp_path / "out") == 2
    with pytest.raises(DataError, match="no pictures of at least 5000 pixels"):
        gather([folder], [], 12, 5000, 9000, tmp_path / "none")


def test_transparent_pixels_become_gray(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2] = (255, 0, 0, 255)
    cv2.imwrite(str(tmp_path / "x.png"), pixels)
    picture = read_picture(tmp_path / "x.png")
    assert picture is not None
    assert picture[0, 0].tolist() == [0, 0, 255]
    assert picture[3, 3].tolist() == [128, 128, 128]


def test_what_a_detector_finds_in_pictures_is_kept(folder: Path, tmp_path: Path) -> None:
    gather([folder], [], 12, 160, 1024, tmp_path / "pictures")

    def detect(image: RgbImage) -> Detections:
        assert image.shape == (200, 300, 3)
        return Detections(np.array([[1.0, 2, 30, 40], [5, 6, 50, 60]]), np.array([0.9, 0.05]))

    assert mine(detect, DataSource("faces300w", tmp_path / "pictures"), tmp_path / "mined") == 2
    mined = DataSource("faces300w", tmp_path / "mined")
    assert [image.lookalikes.tolist() for image in load_images(mined, "train")] == [[[1, 2, 30, 40]]] * 2
    assert all(not len(image.lookalikes) for image in load_images(mined, "val"))
    assert read_image(load_images(mined, "train")[0].path).shape == (200, 300, 3)


def test_a_teacher_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "yunet.onnx").write_text("nothing")
    with pytest.raises(DataError, match="no ONNX file of YuNet"):
        complete_boxes(DataSource("faces300w", tmp_path), tmp_path / "yunet.onnx", tmp_path / "out")


@pytest.mark.skipif(not YUNET.is_file(), reason="needs YuNet's file in ../shared")
def test_faces_that_nobody_annotated_get_boxes(tmp_path: Path) -> None:
    """A portrait twice in one image; the left one is annotated, by a box of a low score."""
    skimage = pytest.importorskip("skimage.data", reason="scikit-image ships the portrait")
    portrait = skimage.astronaut()[..., ::-1][:256, 100:356]
    (tmp_path / "set/images").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "set/images/x.png"), np.concatenate([portrait, portrait], axis=1))
    row = {
        "image": "x.png",
        "split": "train",
        "faces": [{"points98": [[119.0, 105.0]] * 98}],
        "boxes": [{"xyxy": [72.5, 49.5, 164.9, 165.4], "score": 0.1}],
    }
    (tmp_path / "set/annotations.jsonl").write_text(json.dumps(row))
    assert complete_boxes(DataSource("faces300w", tmp_path / "set"), YUNET, tmp_path / "out") == 1
    (image,) = load_images(DataSource("faces300w", tmp_path / "out"), "train")
    assert image.scores[0] == 0.9
    assert image.boxes[1] == pytest.approx(image.boxes[0] + [256, 0, 256, 0], abs=20)
