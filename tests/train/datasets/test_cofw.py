"""COFW, against MATLAB 7.3 files written here as MATLAB lays them out: columns first, cells as references."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

h5py = pytest.importorskip("h5py", reason="the training dependencies are not installed")

from train.datasets.cofw import load  # noqa: E402
from train.datasets.image import read_image  # noqa: E402
from train.errors import DataError  # noqa: E402


def phi(first_x: float, first_y: float, hidden: tuple[int, ...] = ()) -> list[float]:
    x = [first_x + i for i in range(29)]
    y = [first_y + 2 * i for i in range(29)]
    return x + y + [float(i in hidden) for i in range(29)]


def write(path: Path, suffix: str, images: list[np.ndarray[Any, Any]], phis: list[list[float]]) -> None:
    """`images` are [H, W, 3] or [H, W] as seen."""
    with h5py.File(path, "w", userblock_size=512) as file:
        cells = file.create_dataset(f"Is{suffix}", (1, len(images)), dtype=h5py.ref_dtype)
        for i, image in enumerate(images):
            stored = file.create_dataset(f"#refs#/{chr(97 + i)}", data=image.transpose(*reversed(range(image.ndim))))
            cells[0, i] = stored.ref
        file[f"phis{suffix}"] = np.array(phis).T
        file[f"bboxes{suffix}"] = np.array([[11.0, 21.0, 100.0, 120.0]] * len(images)).T


def two_images() -> list[np.ndarray[Any, Any]]:
    colour = np.zeros((6, 4, 3), np.uint8)
    colour[5, 0] = [200, 100, 50]  # the lower left pixel
    grey = np.full((3, 5), 7, np.uint8)
    grey[0, 4] = 9
    return [colour, grey]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "COFW_train_color.mat", "Tr", two_images(), [phi(1, 1), phi(31.5, 41, hidden=(0, 28))])
    write(tmp_path / "COFW_test_color.mat", "T", two_images()[:1], [phi(2, 2)])
    return tmp_path


def test_cofw_by_hand(root: Path) -> None:
    first, second = load(root, "train")
    assert first.points.shape == (29, 2)
    assert first.points[0].tolist() == [0.0, 0.0]
    assert first.points[28].tolist() == [28.0, 56.0]
    assert first.box.tolist() == [10.0, 20.0, 110.0, 140.0]
    assert second.points[0].tolist() == [30.5, 40.0]
    assert [face.points[0].tolist() for face in load(root, "test")] == [[1.0, 1.0]]


def test_images_come_out_of_the_file_the_right_way_round(root: Path) -> None:
    colour, grey = (read_image(face.image) for face in load(root, "train"))
    assert colour.shape == (6, 4, 3)
    assert colour[5, 0].tolist() == [200, 100, 50]
    assert colour[0, 0].tolist() == [0, 0, 0]
    assert grey.shape == (3, 5, 3)
    assert grey[0, 4].tolist() == [9, 9, 9]
    assert grey[2, 4].tolist() == [7, 7, 7]


def test_images_have_names_of_their_own_and_travel_to_other_processes(root: Path) -> None:
    first, second = (face.image for face in load(root, "train"))
    assert first.name == "COFW_train_color.mat/IsTr/0"
    assert second.name == "COFW_train_color.mat/IsTr/1"
    assert pickle.loads(pickle.dumps(second)) == second


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    write(tmp_path / "COFW_test_color.mat", "T", [np.zeros((6, 4, 3))], [phi(2, 2)])
    (face,) = load(tmp_path, "test")
    with pytest.raises(DataError, match=r"COFW_test_color\.mat/IsT/0: expected bytes"):
        read_image(face.image)


def test_an_image_that_is_gone_is_named(root: Path) -> None:
    (face,) = load(root, "test")
    (root / "COFW_test_color.mat").unlink()
    with pytest.raises(DataError, match=r"COFW_test_color\.mat/IsT/0: cannot be read"):
        read_image(face.image)


def test_a_missing_variable_is_named(root: Path) -> None:
    with h5py.File(root / "COFW_test_color.mat", "a") as file:
        del file["bboxesT"]
    with pytest.raises(DataError, match=r"expected a variable 'bboxesT', 4 x 1 .*the file has #refs#, IsT, phisT"):
        load(root, "test")


def test_a_variable_of_another_size_is_named(root: Path) -> None:
    with h5py.File(root / "COFW_test_color.mat", "a") as file:
        del file["phisT"]
        file["phisT"] = np.zeros((136, 1))
    with pytest.raises(DataError, match=r"variable 'phisT': expected 87 x 1 .*, found 136 x 1"):
        load(root, "test")


def test_a_file_of_another_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "COFW_test_color.mat").write_text("MATLAB 5.0 MAT-file")
    with pytest.raises(DataError, match=r"COFW_test_color\.mat: cannot be read"):
        load(tmp_path, "test")


def test_an_empty_box_is_refused_by_face(root: Path) -> None:
    with h5py.File(root / "COFW_train_color.mat", "a") as file:
        file["bboxesTr"][2, 1] = 0
    with pytest.raises(DataError, match=r"COFW_train_color\.mat, face 2: expected a box"):
        load(root, "train")


def test_cofw_knows_its_splits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'train', 'test'"):
        load(tmp_path, "val")
