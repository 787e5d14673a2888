"""COCO keypoints, against JSON written here by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pycocotools", reason="the training dependencies are not installed")

from train.datasets.coco import annotation_file, load
from train.errors import DataError
from train.evaluation.coco_ap import keypoint_ap


def keypoints(unknown: tuple[int, ...] = (), hidden: tuple[int, ...] = ()) -> list[int]:
    """Point i lies at (10 i + 5, 8 i + 3)."""
    rows = [[0, 0, 0] if i in unknown else [10 * i + 5, 8 * i + 3, 1 if i in hidden else 2] for i in range(17)]
    return [number for row in rows for number in row]


def person(number: int, **changes: Any) -> dict[str, Any]:
    values = {
        "id": number,
        "image_id": 139,
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": keypoints(),
        "num_keypoints": 17,
        "bbox": [2.5, 1.5, 180.0, 140.0],
        "area": 14400.0,
    }
    return {**values, **changes}


def write(root: Path, *people: dict[str, Any], split: str = "val2017") -> Path:
    content = {
        "images": [{"id": 139, "file_name": "000000000139.jpg", "width": 640, "height": 426}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": list(people),
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"person_keypoints_{split}.json").write_text(json.dumps(content))
    return root


def test_coco_by_hand(tmp_path: Path) -> None:
    write(tmp_path, person(7, keypoints=keypoints(unknown=(3, 4), hidden=(5,)), num_keypoints=15))
    (face,) = load(tmp_path, "val2017")
    assert face.image == tmp_path / "val2017" / "000000000139.jpg"
    assert face.points[0].tolist() == [5, 3]
    assert face.points[16].tolist() == [165, 131]
    assert np.flatnonzero(np.isnan(face.points).any(axis=1)).tolist() == [3, 4]
    assert face.box.tolist() == [2.0, 1.0, 182.0, 141.0]
    assert face.tight_box.tolist() == [5, 3, 165, 131]
    assert face.size == 120.0


def test_crowds_and_people_without_points_are_left_out(tmp_path: Path) -> None:
    bare = person(2, num_keypoints=0, keypoints=[0] * 51)
    write(tmp_path, person(1, iscrowd=1), bare, person(3), split="train2017")
    assert len(load(tmp_path, "train2017")) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keypoints": [1, 2, 2]}, "annotation 7: expected keypoints"),
        ({"bbox": [1, 2, 3]}, "annotation 7: expected keypoints"),
        ({"image_id": 5}, "annotation 7: expected keypoints"),
        ({"bbox": [1, 2, 0, 4]}, "annotation 7: expected a box"),
    ],
)
def test_what_is_malformed_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write(tmp_path, person(7, **changes))
    with pytest.raises(DataError, match=message):
        load(tmp_path, "val2017")


@pytest.mark.parametrize("content", ["not JSON", "[]", '{"annotations": [{}]}'])
def test_a_file_of_another_format_is_named(tmp_path: Path, content: str) -> None:
    write(tmp_path)
    annotation_file(tmp_path, "val2017").write_text(content)
    with pytest.raises(DataError, match=r"person_keypoints_val2017\.json: expected JSON"):
        load(tmp_path, "val2017")


def test_average_precision_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two people: one predicted exactly, the other so far off that no similarity counts."""
    write(tmp_path, person(1), person(2, keypoints=[400 if i % 3 != 2 else 2 for i in range(51)]))
    faces = load(tmp_path, "val2017")
    points = np.stack([faces[0].points, faces[1].points + 5000])
    figures = keypoint_ap(annotation_file(tmp_path, "val2017"), faces, points, np.array([0.9, 0.8]))
    # recall 1/2 is reached at precision 1: of the 101 recall levels 0, 0.01 ... 0.50 are, which is 51
    assert figures.ap == pytest.approx(100 * 51 / 101)
    assert figures.ap50 == pytest.approx(100 * 51 / 101)
    assert figures.ar == pytest.approx(50)
    assert capsys.readouterr().out == ""
