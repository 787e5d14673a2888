from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from train.datasets.teacher import load_teacher, match, pairs
from train.errors import DataError

FACE = np.stack([np.linspace(0, 100, 98), np.linspace(0, 200, 98)], axis=1)


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_faces_on_which_the_answers_agree_are_read(tmp_path: Path) -> None:
    spreads = (0.01, 0.02, 0.021)
    faces = [{"points98": (FACE + 500 * i).tolist(), "spread": spread} for i, spread in enumerate(spreads)]
    path = write(tmp_path / "t.jsonl", [{"image": "a.jpg", "faces": faces}, {"image": "b.jpg", "faces": []}])
    found = load_teacher(path)
    assert found["a.jpg"] == pytest.approx(np.stack([FACE, FACE + 500]))
    assert found["b.jpg"].shape == (0, 98, 2)


@pytest.mark.parametrize(
    "row", [{"image": "a"}, {"image": "a", "faces": [{"points98": [[1, 2]], "spread": 0}]}, [], "x"]
)
def test_a_malformed_line_is_named(tmp_path: Path, row: object) -> None:
    with pytest.raises(DataError, match=r"t\.jsonl, line 2: expected image, faces"):
        load_teacher(write(tmp_path / "t.jsonl", [{"image": "b", "faces": []}, row]))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl: cannot be read"):
        load_teacher(tmp_path / "gone.jsonl")


def test_the_face_at_the_same_place_is_matched() -> None:
    found = match(FACE, np.stack([FACE + 500, FACE + 3]))
    assert found is not None
    assert np.array_equal(found, FACE + 3)


def test_a_face_elsewhere_is_not_matched() -> None:
    """A quarter of the root of the box's area, which is 141, is 35 pixels."""
    assert match(FACE, FACE[None] + [36, 0]) is None
    assert match(FACE, FACE[None] + [35, 0]) is not None
    assert match(FACE, np.zeros((0, 98, 2))) is None


def test_faces_without_a_teacher_are_left_out_of_the_pairs() -> None:
    given, wanted = pairs([("a", FACE), ("b", FACE), ("a", FACE + 500)], {"a": np.stack([FACE + 501, FACE + 1])})
    assert np.array_equal(given, np.stack([FACE, FACE + 500]))
    assert np.array_equal(wanted, np.stack([FACE + 1, FACE + 501]))


def test_a_teacher_of_another_data_set_is_told() -> None:
    with pytest.raises(DataError, match="holds none of the faces"):
        pairs([("a", FACE)], {"b": FACE[None]})
