"""WFLW, against miniatures written here by hand in its official layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from train.datasets.wflw import load
from train.errors import DataError

POINTS = [[10.5 + i, 20.25 + 2 * i] for i in range(98)]


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
    plain, posed = load(tmp_path, "test")
    assert plain.image == tmp_path / "WFLW_images" / "37--Soccer" / "37_Soccer_1.jpg"
    assert plain.box.tolist() == [8, 18, 110, 216]
    assert plain.points[97].tolist() == [107.5, 214.25]
    assert plain.subsets == frozenset()
    assert posed.subsets == {"pose", "occlusion"}


def test_wflw_names_the_line_that_is_too_short(tmp_path: Path) -> None:
    write_wflw(tmp_path, "train", wflw_line(), "1 2 3 a.jpg\n")
    with pytest.raises(DataError, match=r"line 2: expected 207 fields, found 4"):
        load(tmp_path, "train")


def test_wflw_names_the_line_that_is_not_numbers(tmp_path: Path) -> None:
    write_wflw(tmp_path, "train", wflw_line().replace("10.500000", "ten"))
    with pytest.raises(DataError, match="line 1: expected 200 numbers"):
        load(tmp_path, "train")


def test_wflw_knows_its_splits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no split 'val'; the splits are 'train', 'test'"):
        load(tmp_path, "val")


def test_wflw_without_its_list_says_which(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"list_98pt_rect_attr_train\.txt: cannot be read \(No such file"):
        load(tmp_path, "train")
