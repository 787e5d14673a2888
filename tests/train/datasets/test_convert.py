"""Data sets converted to WFLW's convention, by the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.train.command import landmarks_train
from tests.train.datasets.test_conversion import linear_faces, moved_chins
from train.datasets.conversion import PointConversion, fit, given68
from train.datasets.convert import convert_points
from train.datasets.faces300w import load
from train.errors import DataError

SHAPES = linear_faces(60)
MOVED = moved_chins(SHAPES)


def row(name: str, points: NDArray[np.float64], split: str = "train") -> dict[str, object]:
    low, high = points.min(axis=0), points.max(axis=0)
    face = {"points98": points.tolist(), "weights": [0.5] * 98}
    return {"image": name, "split": split, "faces": [face], "boxes": [{"xyxy": [*low.tolist(), *high.tolist()]}]}


def teacher_row(name: str, points: NDArray[np.float64]) -> dict[str, object]:
    return {"image": name, "faces": [{"points98": points.tolist(), "spread": 0.01}]}


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rows = [row("a.jpg", SHAPES[0]), row("copy.jpg", SHAPES[1]), row("b.jpg", SHAPES[2], "val")]
    write(tmp_path / "set" / "annotations.jsonl", rows)
    (tmp_path / "set" / "images").mkdir()
    (tmp_path / "set" / "images" / "a.jpg").write_bytes(b"an image")
    return tmp_path / "set"


@pytest.fixture(scope="module")
def conversion() -> PointConversion:
    return fit(given68(SHAPES), MOVED)


def test_training_faces_are_averaged_with_the_teacher_and_others_are_not(
    root: Path, conversion: PointConversion, tmp_path: Path
) -> None:
    teacher = {"a.jpg": MOVED[:1] + 4, "b.jpg": MOVED[2:3] + 4}
    written = convert_points(root, conversion, teacher, ["copy"], tmp_path / "out")
    (trained,), (tested,) = load(tmp_path / "out", "train"), load(tmp_path / "out", "val")
    assert trained.points == pytest.approx((conversion.convert(given68(SHAPES[0])) + MOVED[0] + 4) / 2, abs=0.006)
    assert tested.points == pytest.approx(conversion.convert(given68(SHAPES[2])), abs=0.006)
    assert trained.weights == pytest.approx([0.5] * 98)
    assert (written.averaged, written.left_out) == (1, 1)
    assert written.before == pytest.approx(SHAPES[[0, 2]])
    assert (tmp_path / "out" / "images" / "a.jpg").read_bytes() == b"an image"


def test_a_name_to_leave_out_that_no_training_image_has_is_told(
    root: Path, conversion: PointConversion, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="no training image is named b, gone"):
        convert_points(root, conversion, {}, ["b", "gone", "copy"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_left_alone(root: Path, conversion: PointConversion) -> None:
    with pytest.raises(DataError, match="exists: choose another --out"):
        convert_points(root, conversion, {}, [], root)


def test_the_commands_fit_a_conversion_to_pairs_and_apply_it(tmp_path: Path) -> None:
    data, teacher = tmp_path / "set", tmp_path / "teacher.jsonl"
    write(data / "annotations.jsonl", [row(f"{i}.jpg", points) for i, points in enumerate(SHAPES)])
    write(teacher, [teacher_row(f"{i}.jpg", points) for i, points in enumerate(MOVED)])
    conversion, plot, out = tmp_path / "conversion.npz", tmp_path / "moved.png", tmp_path / "out"
    done = landmarks_train(
        *("fit-conversion", "--data", f"faces300w:{data}", "--teacher", teacher, "--out", conversion, "--plot", plot)
    )
    assert done.returncode == 0, done.stderr
    assert "fitted to 60 pairs" in done.stdout
    assert "| points | moved | error before | error after |" in done.stdout
    assert plot.read_bytes().startswith(b"\x89PNG")
    done = landmarks_train(
        *("convert-points", "--data", f"faces300w:{data}", "--conversion", conversion, "--out", out),
        *("--leave-out", "3"),
    )
    assert done.returncode == 0, done.stderr
    assert f"wrote 59 faces into {out}; 1 images left out" in done.stdout
    face = load(out, "train")[0]
    size = np.ptp(MOVED[0], axis=0).max()
    assert np.linalg.norm(face.points - MOVED[0], axis=1).mean() < 0.02 * size


def test_each_set_needs_its_teacher(tmp_path: Path) -> None:
    done = landmarks_train(
        *("fit-conversion", "--data", "faces300w:a", "faces300w:b", "--teacher", "t.jsonl", "--out", tmp_path / "c.npz")
    )
    assert (done.returncode, "a file for each of --data: 2, not 1" in done.stderr) == (1, True)


def test_only_the_format_that_is_written_is_converted(tmp_path: Path) -> None:
    done = landmarks_train(
        *("convert-points", "--data", "wflw:a", "--conversion", "c.npz", "--out", tmp_path / "out"),
    )
    assert (done.returncode, "format faces300w, not wflw" in done.stderr) == (1, True)
