"""AFLW, against a MATLAB file written here by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

scipy_io = pytest.importorskip("scipy.io", reason="the training dependencies are not installed")

from train.datasets.aflw import load  # noqa: E402
from train.errors import DataError  # noqa: E402


def write(root: Path, **changes: Any) -> Path:
    """Three faces; `ra` puts the third first. Only the second and third have every point in sight."""
    names = np.empty((3, 1), object)
    names[:, 0] = ["0/image00002.jpg", "2/image00013.jpg", "3/image00035.jpg"]
    data = np.array([[100.0 * face + i for i in range(38)] for face in range(3)])
    mask = np.ones((3, 19), np.uint8)
    mask[0, 4] = 0
    boxes = np.array([[10, 110, 20, 240], [11, 111, 21, 241], [12, 112, 22, 242]], np.int32)
    values = {"bbox": boxes, "data": data, "mask_new": mask, "nameList": names, "ra": np.array([[3, 1, 2]], np.uint16)}
    values.update(changes)
    scipy_io.savemat(root / "AFLWinfo_release.mat", {key: value for key, value in values.items() if value is not None})
    return root


def names(root: Path, split: str) -> list[str]:
    return [face.image.name for face in load(root, split, train_faces=1)]


def test_aflw_by_hand(tmp_path: Path) -> None:
    (face,) = load(write(tmp_path), "train", train_faces=1)
    assert face.image == tmp_path / "data" / "flickr" / "3" / "image00035.jpg"
    assert face.box.tolist() == [12, 22, 112, 242]
    assert face.points.shape == (19, 2)
    assert face.points[0].tolist() == [200.0, 219.0]
    assert face.points[18].tolist() == [218.0, 237.0]


def test_the_order_splits_the_faces(tmp_path: Path) -> None:
    write(tmp_path)
    assert names(tmp_path, "train") == ["image00035.jpg"]
    assert names(tmp_path, "full") == ["image00002.jpg", "image00013.jpg"]
    assert names(tmp_path, "frontal") == ["image00013.jpg"]


def test_frontal_faces_are_a_subset_of_full(tmp_path: Path) -> None:
    faces = load(write(tmp_path), "full", train_faces=1)
    assert [set(face.subsets) for face in faces] == [set(), {"frontal"}]


def test_the_first_20000_are_for_training(tmp_path: Path) -> None:
    write(tmp_path)
    assert len(load(tmp_path, "train")) == 3
    assert load(tmp_path, "full") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ra": None}, "expected the variables ra; the file has bbox, data, mask_new, nameList"),
        ({"ra": np.array([[1, 2, 2]])}, "variable 'ra': expected every number from 1 to 3 once"),
        ({"data": np.zeros((3, 42))}, "variable 'data': expected 3 x 38, found 3 x 42"),
        ({"bbox": np.ones((3, 4))}, "row 3: expected a box with x1 < x2"),
    ],
)
def test_what_is_malformed_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        load(tmp_path, "full", train_faces=0)


def test_a_file_of_another_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "AFLWinfo_release.mat").write_text("not a MATLAB file at all, but long enough to have a header" * 9)
    with pytest.raises(DataError, match=r"AFLWinfo_release\.mat: expected a MATLAB file of version 5"):
        load(tmp_path, "full")
