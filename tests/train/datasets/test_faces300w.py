"""300-W images in the 98-point layout, against miniatures written here by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from train.datasets.faces300w import load
from train.datasets.source import DataSource
from train.errors import DataError

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
    (face,) = load(tmp_path, "train")
    assert face.image == tmp_path / "images" / "a.jpg"
    assert face.box.tolist() == [5, 10, 110, 220]
    assert face.points[1].tolist() == [11.5, 22.25]
    assert face.tight_box.tolist() == [10.5, 20.25, 107.5, 214.25]


def test_turned_faces_tell_their_yaw(tmp_path: Path) -> None:
    face = {"points98": POINTS, "yaw": -47.2, "pitch": 3.0}
    (turned,) = load(write_faces300w(tmp_path, row(faces=[face])), "train")
    assert turned.subsets == {"helen_train", "yaw 45-60"}


def test_weights_of_points_are_read(tmp_path: Path) -> None:
    weights = [round(i / 97, 3) for i in range(98)]
    faces = [{"points98": POINTS, "weights": weights}, {"points98": POINTS}]
    stated, unstated = load(write_faces300w(tmp_path, row(faces=faces)), "train")
    assert stated.weights is not None
    assert stated.weights.tolist() == weights
    assert unstated.weights is None
    assert unstated.point_weights.tolist() == [1.0] * 98


@pytest.mark.parametrize("weights", [[1.0] * 97, [1.0] * 97 + [1.5], [1.0] * 97 + [-0.1], [1.0] * 97 + [float("nan")]])
def test_weights_are_98_numbers_from_0_to_1(tmp_path: Path, weights: list[float]) -> None:
    with pytest.raises(DataError, match=r"annotations\.jsonl, line 1: expected"):
        load(write_faces300w(tmp_path, row(faces=[{"points98": POINTS, "weights": weights}])), "train")


def test_faces300w_leaves_out_faces_without_a_box_and_counts_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    far = [{"xyxy": [200, 200, 290, 290], "score": 0.9}]
    write_faces300w(tmp_path, row(), row(image="b.jpg", boxes=far), row(image="c.jpg", boxes=[]))
    assert [face.image.name for face in load(tmp_path, "train")] == ["a.jpg"]
    expected = f"{tmp_path / 'annotations.jsonl'}: 2 of 3 faces of split 'train' left out: no box overlaps their points"
    assert caplog.messages == [expected]


def test_faces300w_says_nothing_when_every_face_has_a_box(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(write_faces300w(tmp_path, row()), "train")
    assert caplog.messages == []


def test_faces300w_keeps_a_face_with_a_point_that_is_not_annotated(tmp_path: Path) -> None:
    unknown = [POINTS[0], [None, None], *POINTS[2:]]
    (face,) = load(write_faces300w(tmp_path, row(faces=[{"points98": unknown}])), "train")
    assert face.box.tolist() == [5, 10, 110, 220]
    assert np.isnan(face.points[1]).all()
    assert face.points[2].tolist() == [12.5, 24.25]


def test_faces300w_leaves_out_a_face_without_any_annotated_point(tmp_path: Path) -> None:
    unknown = {"points98": [[None, None]] * 98}
    (face,) = load(write_faces300w(tmp_path, row(faces=[unknown, {"points98": POINTS}])), "train")
    assert face.points.tolist() == POINTS


@pytest.mark.parametrize(
    "bad", [{"faces": [{"points98": POINTS[:97]}]}, {"boxes": [{"score": 1}]}, {"faces": [{}]}, {"faces": 3}]
)
def test_faces300w_names_the_line_that_is_malformed(tmp_path: Path, bad: dict[str, object]) -> None:
    write_faces300w(tmp_path, row(), row(**bad))
    with pytest.raises(DataError, match=r"annotations\.jsonl, line 2: expected"):
        load(tmp_path, "train")


def test_faces300w_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = write_faces300w(tmp_path, row()) / "annotations.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(load(tmp_path, "train")) == 1


def test_faces300w_without_its_file_says_which(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"annotations\.jsonl: cannot be read"):
        load(tmp_path, "train")


def test_an_unknown_split_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'test'"):
        load(write_faces300w(tmp_path, row()), "test")


def test_the_real_images_load(test_data: Path) -> None:
    source = DataSource("faces300w", test_data / "faces300w")
    train, val = source.train_faces(), source.test_faces()
    assert (len(train), len(val)) == (2012, 554)
    assert not {face.image for face in train} & {face.image for face in val}
    assert all(np.isfinite(face.points).all() for face in train)
