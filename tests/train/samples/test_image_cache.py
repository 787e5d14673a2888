from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from train.datasets.image import MatImage
from train.errors import DataError
from train.samples.image_cache import ImageCache


def test_an_image_within_a_file_is_read_once(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "many.mat", "w") as file:
        cells = file.create_dataset("Is", (1, 1), dtype=h5py.ref_dtype)
        cells[0, 0] = file.create_dataset("a", data=np.full((3, 5, 4), 9, np.uint8)).ref
    source, images = MatImage(tmp_path / "many.mat", "Is", 0), ImageCache()
    assert images.load(source).shape == (4, 5, 3)
    (tmp_path / "many.mat").unlink()
    assert images.load(source).shape == (4, 5, 3)


def test_each_of_several_workers_keeps_its_share_of_the_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 5, 3), np.uint8))
    images = ImageCache(limit=2 * 60, workers=2)  # 60 bytes an image
    for name in ("a.png", "b.png"):
        images.load(tmp_path / name)
        (tmp_path / name).unlink()
    assert images.load(tmp_path / "a.png").shape == (4, 5, 3)
    with pytest.raises(DataError):
        images.load(tmp_path / "b.png")


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png"):
        ImageCache().load(tmp_path / "gone.png")
