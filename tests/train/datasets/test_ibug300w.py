"""300-W, against .pts files written here by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from train.datasets.ibug300w import load
from train.errors import DataError


def write_face(folder: Path, name: str, ending: str = ".jpg", points: int = 68, stated: int = 68) -> None:
    """Point i lies at (i + 1, 2 i + 1) of MATLAB's pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{name}.png"), np.zeros((4, 4, 3), np.uint8))
    (folder / f"{name}.png").rename(folder / f"{name}{ending}")
    rows = "".join(f"{i + 1}.000000 {2 * i + 1}.500000\n" for i in range(points))
    (folder / f"{name}.pts").write_text(f"version: 1\nn_points:  {stated}\n{{\n{rows}}}\n")


def test_points_move_from_matlabs_pixels_to_ours(tmp_path: Path) -> None:
    write_face(tmp_path / "ibug", "image_003_1")
    (face,) = load(tmp_path, "challenge")
    assert face.image == tmp_path / "ibug" / "image_003_1.jpg"
    assert face.points.shape == (68, 2)
    assert face.points[0].tolist() == [0.0, 0.5]
    assert face.points[67].tolist() == [67.0, 134.5]
    assert face.box.tolist() == [0.0, 0.5, 67.0, 134.5]


def test_the_official_splits(tmp_path: Path) -> None:
    write_face(tmp_path / "afw", "1")
    write_face(tmp_path / "helen" / "trainset", "2")
    write_face(tmp_path / "lfpw" / "trainset", "3", ".png")
    write_face(tmp_path / "helen" / "testset", "4")
    write_face(tmp_path / "lfpw" / "testset", "5", ".png")
    write_face(tmp_path / "ibug", "6", ".JPG")
    write_face(tmp_path / "300W" / "01_Indoor", "indoor_001", ".png")
    write_face(tmp_path / "300W" / "02_Outdoor", "outdoor_001", ".png")

    def names(split: str) -> list[tuple[str, set[str]]]:
        return [(face.image.name, set(face.subsets)) for face in load(tmp_path, split)]

    assert names("train") == [("1.jpg", {"afw"}), ("2.jpg", {"helen"}), ("3.png", {"lfpw"})]
    assert names("common") == [("4.jpg", {"common"}), ("5.png", {"common"})]
    assert names("challenge") == [("6.JPG", {"challenge"})]
    assert names("full") == [("4.jpg", {"common"}), ("5.png", {"common"}), ("6.JPG", {"challenge"})]
    assert names("private") == [("indoor_001.png", {"indoor"}), ("outdoor_001.png", {"outdoor"})]


def test_faces_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        write_face(tmp_path / "ibug", name)
    assert [face.image.name for face in load(tmp_path, "challenge")] == ["a.jpg", "b.jpg", "c.jpg"]


def test_a_folder_without_annotations_is_named(tmp_path: Path) -> None:
    write_face(tmp_path / "afw", "1")
    with pytest.raises(DataError, match=r"helen/trainset: expected \.pts files"):
        load(tmp_path, "train")


def test_a_face_without_its_image_is_named(tmp_path: Path) -> None:
    write_face(tmp_path / "ibug", "a")
    (tmp_path / "ibug" / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"a\.pts: expected an image of that name"):
        load(tmp_path, "challenge")


def test_too_few_points_are_counted(tmp_path: Path) -> None:
    write_face(tmp_path / "ibug", "a", points=51)
    with pytest.raises(DataError, match=r"a\.pts: expected 68 points between { and }, found 51"):
        load(tmp_path, "challenge")


@pytest.mark.parametrize("bad", ["twelve 3.0", "1.0", "1 2 3"])
def test_a_line_that_is_no_point_is_named(tmp_path: Path, bad: str) -> None:
    write_face(tmp_path / "ibug", "a")
    path = tmp_path / "ibug" / "a.pts"
    path.write_text(path.read_text().replace("2.000000 3.500000", bad))
    with pytest.raises(DataError, match=rf"a\.pts, line 5: expected x and y, found '{bad}'"):
        load(tmp_path, "challenge")


def test_a_point_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    write_face(tmp_path / "ibug", "a")
    path = tmp_path / "ibug" / "a.pts"
    path.write_text(path.read_text().replace("2.000000 3.500000", "nan 3.5"))
    with pytest.raises(DataError, match=r"a\.pts"):
        load(tmp_path, "challenge")
