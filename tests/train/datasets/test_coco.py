"""COCO keypoints, against JSON written here by hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pycocotools", reason="the training dependencies are not installed")

from train.datasets.coco import annotation_file, load, load_detected
from train.errors import DataError
from train.evaluation.coco_ap import keypoint_ap, similarity, without_duplicates


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


# ---------------------------------------------------------------- a detector's boxes


def write_boxes(path: Path, *boxes: dict[str, Any]) -> Path:
    usual = {"image_id": 139, "category_id": 1, "bbox": [2.5, 1.5, 180.0, 140.0], "score": 0.9}
    path.write_text(json.dumps([{**usual, **box} for box in boxes]))
    return path


def test_detected_people_by_hand(tmp_path: Path) -> None:
    write(tmp_path, person(7))
    others = ({"category_id": 2}, {"bbox": [5, 5, 0, 9]})
    boxes = write_boxes(tmp_path / "boxes.json", {}, *others, {"bbox": [0, 0, 40, 90], "score": 0.25})
    first, second = load_detected(tmp_path, "val2017", boxes)
    assert first.image == tmp_path / "val2017" / "000000000139.jpg"
    assert first.box.tolist() == [2.0, 1.0, 182.0, 141.0]
    assert (first.box_score, second.box_score) == (0.9, 0.25)
    assert second.size == 60.0
    assert np.isnan(first.points).all()


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ({"image_id": 5}, "image 5 is not one of val2017: give the boxes of this split"),
        ({"bbox": [1, 2, 3]}, "expected a JSON list of image_id"),
        ({"bbox": [1, float("nan"), 3, 4]}, "expected a JSON list of image_id"),
        ({"score": "high"}, "expected a JSON list of image_id"),
    ],
)
def test_malformed_boxes_are_named(tmp_path: Path, box: dict[str, Any], message: str) -> None:
    write(tmp_path, person(7))
    with pytest.raises(DataError, match=rf"boxes\.json: {message}"):
        load_detected(tmp_path, "val2017", write_boxes(tmp_path / "boxes.json", box))


@pytest.mark.parametrize("content", ["not JSON", '{"image_id": 139}', "[[139]]", "[null]"])
def test_a_file_of_other_boxes_is_named(tmp_path: Path, content: str) -> None:
    write(tmp_path, person(7))
    (tmp_path / "boxes.json").write_text(content)
    with pytest.raises(DataError, match=r"boxes\.json: expected a JSON list"):
        load_detected(tmp_path, "val2017", tmp_path / "boxes.json")
    with pytest.raises(DataError, match=r"none\.json: cannot be read"):
        load_detected(tmp_path, "val2017", tmp_path / "none.json")


def test_similarity_by_hand(tmp_path: Path) -> None:
    """Two answers for boxes of 120 x 120 and 160 x 120 pixels, one nose 10 pixels from the other, all else equal."""
    write(tmp_path, person(7))
    boxes = write_boxes(tmp_path / "boxes.json", {"bbox": [0, 0, 120, 120]}, {"bbox": [0, 0, 160, 120]})
    one, other = load_detected(tmp_path, "val2017", boxes)
    points = np.arange(34.0).reshape(17, 2)
    moved = points + np.eye(17, 2) * [[10.0, 0.0]]
    # COCO's constant of the nose is 0.026; the mean area is 16,800
    expected = (16 + np.exp(-100 / (2 * 16_800 * (2 * 0.026) ** 2))) / 17
    assert similarity(one, points, other, moved) == pytest.approx(expected)


def test_who_is_found_twice_counts_once(tmp_path: Path) -> None:
    """Of two boxes about one person that with the higher score stays; so does who is elsewhere, or in another image."""
    write(tmp_path, person(7))
    boxes = write_boxes(tmp_path / "boxes.json", *({"score": score} for score in (0.6, 0.9, 0.3, 0.2)))
    people = load_detected(tmp_path, "val2017", boxes)
    people[3] = dataclasses.replace(people[3], image=tmp_path / "val2017" / "another.jpg")
    points = np.tile(load(tmp_path, "val2017")[0].points, (4, 1, 1))
    points[1] += 1
    points[2] += 300
    assert without_duplicates(people, points, np.array([0.6, 0.9, 0.3, 0.2])) == [1, 2, 3]
    assert without_duplicates(people, points, np.array([0.9, 0.9, 0.3, 0.2])) == [0, 2, 3]
