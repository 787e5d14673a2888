"""The loaders, against miniatures written here by hand in the data sets' own formats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from train.errors import DataError
from train.faces import DataSource, load_faces300w, load_wflw

POINTS = [[10.5 + i, 20.25 + 2 * i] for i in range(98)]  # tight box 10.5, 20.25, 107.5, 214.25


def write_faces300w(root: Path, *rows: dict[str, object]) -> Path:
    root.mkdir(exist_ok=True)
    (root / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def row(**changes: object) -> dict[str, object]:
    return {
        "image": "a.jpg",
        "split": "train",
        "source": "helen_train",
        "width": 300,
        "height": 300,
        "faces": [{"points68": [], "points98": POINTS}],
        "boxes": [{"xyxy": [0, 0, 5, 5], "score": 0.9}, {"xyxy": [5, 10, 110, 220], "score": 0.8}],
        **changes,
    }


def test_faces300w_takes_the_box_that_overlaps_the_points(tmp_path: Path) -> None:
    write_faces300w(tmp_path, row(), row(image="b.jpg", split="val"))
    (face,) = load_faces300w(tmp_path, "train")
    assert face.image == tmp_path / "images" / "a.jpg"
    assert face.box.tolist() == [5, 10, 110, 220]
    assert face.points[1].tolist() == [11.5, 22.25]
    assert face.tight_box.tolist() == [10.5, 20.25, 107.5, 214.25]


def test_faces300w_leaves_out_a_face_without_a_box(tmp_path: Path) -> None:
    far = [{"xyxy": [200, 200, 290, 290], "score": 0.9}]
    write_faces300w(tmp_path, row(), row(image="b.jpg", boxes=far), row(image="c.jpg", boxes=[]))
    assert [face.image.name for face in load_faces300w(tmp_path, "train")] == ["a.jpg"]


@pytest.mark.parametrize(
    "bad", [{"faces": [{"points98": POINTS[:97]}]}, {"boxes": [{"score": 1}]}, {"faces": [{}]}, {"faces": 3}]
)
def test_faces300w_names_the_line_that_is_malformed(tmp_path: Path, bad: dict[str, object]) -> None:
    write_faces300w(tmp_path, row(), row(**bad))
    with pytest.raises(DataError, match=r"annotations\.jsonl, line 2: expected"):
        load_faces300w(tmp_path, "train")


def test_faces300w_without_its_file_says_which(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"annotations\.jsonl: cannot be read"):
        load_faces300w(tmp_path, "train")


def test_an_unknown_split_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'test'"):
        load_faces300w(write_faces300w(tmp_path, row()), "test")


# ---------------------------------------------------------------- WFLW


def wflw_line(name: str = "37--Soccer/37_Soccer_1.jpg", flags: str = "0 0 0 0 0 0") -> str:
    coordinates = " ".join(f"{x:.6f} {y:.6f}" for x, y in POINTS)
    return f"{coordinates} 8 18 110 216 {flags} {name}\n"


def write_wflw(root: Path, split: str, *lines: str) -> Path:
    folder = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"list_98pt_rect_attr_{split}.txt").write_text("".join(lines))
    return root


def test_wflw_by_hand(tmp_path: Path) -> None:
    write_wflw(tmp_path, "test", wflw_line(), wflw_line(flags="1 0 0 0 1 0"))
    plain, posed = load_wflw(tmp_path, "test")
    assert plain.image == tmp_path / "WFLW_images" / "37--Soccer" / "37_Soccer_1.jpg"
    assert plain.box.tolist() == [8, 18, 110, 216]
    assert plain.points[97].tolist() == [107.5, 214.25]
    assert plain.subsets == frozenset()
    assert posed.subsets == {"pose", "occlusion"}


def test_wflw_names_the_line_that_is_too_short(tmp_path: Path) -> None:
    write_wflw(tmp_path, "train", wflw_line(), "1 2 3 a.jpg\n")
    with pytest.raises(DataError, match=r"line 2: expected 207 fields, found 4"):
        load_wflw(tmp_path, "train")


def test_wflw_names_the_line_that_is_not_numbers(tmp_path: Path) -> None:
    write_wflw(tmp_path, "train", wflw_line().replace("10.500000", "ten"))
    with pytest.raises(DataError, match="line 1: expected 200 numbers"):
        load_wflw(tmp_path, "train")


# ---------------------------------------------------------------- by name


def test_data_source_splits_at_the_first_colon() -> None:
    assert DataSource.parse("wflw:/data/a:b") == DataSource("wflw", Path("/data/a:b"))


@pytest.mark.parametrize("text", ["", "wflw", "/data/wflw", "imagenet:/data"])
def test_data_source_of_anything_else_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="FORMAT:PATH"):
        DataSource.parse(text)


def test_the_real_photographs_load(test_data: Path) -> None:
    source = DataSource("faces300w", test_data / "faces300w")
    train, val = source.train_faces(), source.test_faces()
    assert (len(train), len(val)) == (2012, 554)
    assert not {face.image for face in train} & {face.image for face in val}
    assert all(np.isfinite(face.points).all() for face in train)
