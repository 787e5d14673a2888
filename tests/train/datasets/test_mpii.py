"""MPII, against a MATLAB file written here by hand, with the gaps that the release has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

scipy_io = pytest.importorskip("scipy.io", reason="the training dependencies are not installed")

from train.datasets.mpii import load  # noqa: E402
from train.errors import DataError  # noqa: E402

Struct = Any


def struct(rows: list[dict[str, Any]]) -> Struct:
    """A structure array 1 x n; a field that a row lacks is empty."""
    fields = sorted({name for row in rows for name in row})
    array = np.empty((1, len(rows)), [(name, object) for name in fields])
    for i, row in enumerate(rows):
        for name in fields:
            array[name][0, i] = row.get(name, np.zeros((0, 0)))
    return array


def points(*ids: int) -> Struct:
    """Joint i at (10 i + 1, 20 i + 1) of MATLAB's pixels."""
    rows = [{"x": 10.0 * i + 1, "y": 20.0 * i + 1, "id": i} for i in ids]
    return struct([{"point": struct(rows)}])


def person(x: float = 151.0, y: float = 201.0, *ids: int) -> dict[str, Any]:
    place = struct([{"x": x, "y": y}])
    head = {"x1": 40.0, "y1": 50.0, "x2": 70.0, "y2": 90.0}
    return {**head, "annopoints": points(*(ids or range(16))), "scale": 2.0, "objpos": place}


def image(name: str, *people: dict[str, Any]) -> dict[str, Any]:
    return {"image": struct([{"name": name}]), "annorect": struct(list(people)) if people else np.zeros((0, 0))}


def write(root: Path, images: list[dict[str, Any]], training: list[int]) -> Path:
    release = struct([{"annolist": struct(images), "img_train": np.array([training], np.uint8), "version": "12"}])
    scipy_io.savemat(root / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release})
    return root


def test_mpii_by_hand(tmp_path: Path) -> None:
    write(tmp_path, [image("015601864.jpg", person(151.0, 201.0, 0, 1, 8, 9, 15))], [1])
    (face,) = load(tmp_path, "all")
    assert face.image == tmp_path / "images" / "015601864.jpg"
    assert np.flatnonzero(~np.isnan(face.points[:, 0])).tolist() == [0, 1, 8, 9, 15]
    assert face.points[15].tolist() == [150.0, 300.0]
    # about (150, 200 + 15 * 2), 200 * 2 wide
    assert face.box.tolist() == [-50.0, 30.0, 350.0, 430.0]
    # a head box of 30 x 40: 0.6 of its diagonal of 50
    assert face.size == pytest.approx(30.0)


def test_a_person_of_one_point_and_several_people_of_one_image(tmp_path: Path) -> None:
    write(tmp_path, [image("a.jpg", person(1, 1, 9), person(2, 2, 3, 4))], [1])
    first, second = load(tmp_path, "all")
    assert np.flatnonzero(~np.isnan(first.points[:, 0])).tolist() == [9]
    assert np.flatnonzero(~np.isnan(second.points[:, 0])).tolist() == [3, 4]


def test_what_the_release_does_not_annotate_is_left_out(tmp_path: Path) -> None:
    bare = {"x1": 1.0, "y1": 1.0, "x2": 2.0, "y2": 2.0}
    images = [image("test.jpg", person()), image("none.jpg"), image("mixed.jpg", bare, person()), image("b.jpg", bare)]
    write(tmp_path, images, [0, 1, 1, 1])
    assert [face.image.name for face in load(tmp_path, "all")] == ["mixed.jpg"]


def test_the_customary_list_parts_the_people(tmp_path: Path) -> None:
    write(tmp_path, [image("a.jpg", person(10, 20), person(30, 40)), image("b.jpg", person(10, 20))], [1, 1])
    (tmp_path / "annot").mkdir()
    (tmp_path / "annot" / "valid.json").write_text(json.dumps([{"image": "a.jpg", "center": [30.0, 40.0]}]))
    assert [(face.image.name, face.box[0]) for face in load(tmp_path, "valid")] == [("a.jpg", 29.0 - 200)]
    assert [face.image.name for face in load(tmp_path, "train")] == ["a.jpg", "b.jpg"]


def test_without_the_list_there_is_only_the_whole(tmp_path: Path) -> None:
    write(tmp_path, [image("a.jpg", person())], [1])
    assert len(load(tmp_path, "all")) == 1
    with pytest.raises(DataError, match=r"valid\.json: cannot be read"):
        load(tmp_path, "train")


def test_a_list_of_another_format_is_named(tmp_path: Path) -> None:
    write(tmp_path, [image("a.jpg", person())], [1])
    (tmp_path / "annot").mkdir()
    (tmp_path / "annot" / "valid.json").write_text('[{"image": "a.jpg"}]')
    with pytest.raises(DataError, match=r"valid\.json: expected a list of objects with image and center"):
        load(tmp_path, "valid")


def test_a_row_that_is_malformed_is_named(tmp_path: Path) -> None:
    broken = person()
    del broken["x2"]
    write(tmp_path, [image("a.jpg", person()), image("b.jpg", broken)], [1, 1])
    with pytest.raises(DataError, match=r"RELEASE\.annolist\(2\): expected image\.name"):
        load(tmp_path, "all")


def test_a_joint_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [image("a.jpg", person(1, 1, 16))], [1])
    with pytest.raises(DataError, match=r"RELEASE\.annolist\(1\): expected"):
        load(tmp_path, "all")


def test_a_file_without_the_release_is_named(tmp_path: Path) -> None:
    scipy_io.savemat(tmp_path / "mpii_human_pose_v1_u12_1.mat", {"annolist": np.zeros((1, 1))})
    with pytest.raises(DataError, match="expected the variables RELEASE; the file has annolist"):
        load(tmp_path, "all")
