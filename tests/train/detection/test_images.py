"""Images with a box for every face, from the data set's file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from train.config import load_config
from train.datasets.source import DataSource
from train.detection.config import DetectorConfig
from train.detection.images import BoxedImage, fingerprint, hold_out_every, load_images
from train.errors import ConfigError, DataError

ROW = {"image": "a.jpg", "split": "train", "faces": [], "boxes": [{"xyxy": [1, 2, 30, 40], "score": 0.75}]}


def write(root: Path, *rows: object) -> DataSource:
    (root / "annotations.jsonl").write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return DataSource("faces300w", root)


def test_an_image_has_every_box_annotated_or_not(tmp_path: Path) -> None:
    source = write(tmp_path, ROW, {**ROW, "image": "b.jpg", "boxes": []}, {**ROW, "split": "val"})
    first, second = load_images(source, "train")
    assert first.path == tmp_path / "images" / "a.jpg"
    assert first.boxes.tolist() == [[1, 2, 30, 40]]
    assert first.scores.tolist() == [0.75]
    assert (second.boxes.shape, second.scores.shape) == ((0, 4), (0,))


def test_places_that_look_like_faces_are_read(tmp_path: Path) -> None:
    source = write(tmp_path, {**ROW, "boxes": [], "lookalikes": [[5, 6, 20, 30]]}, ROW)
    first, second = load_images(source, "train")
    assert first.lookalikes.tolist() == [[5, 6, 20, 30]]
    assert second.lookalikes.shape == (0, 4)
    assert fingerprint([first]) != fingerprint([BoxedImage(first.path, first.boxes, first.scores)])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"line 2: expected an object with image, split and boxes"),
        ({**ROW, "boxes": [{"xyxy": [1, 2, 30], "score": 0.5}]}, r"line 2: expected an object"),
        ({**ROW, "boxes": [{"xyxy": [30, 2, 1, 40], "score": 0.5}]}, r"line 2: expected boxes with x1 < x2"),
        ({**ROW, "lookalikes": [[30, 2, 1, 40]]}, r"line 2: expected boxes with x1 < x2"),
        ({**ROW, "boxes": [{"xyxy": [1, 2, 30, 40]}]}, r"line 2: expected an object"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_images(write(tmp_path, ROW, row), "train")


def test_other_sets_and_other_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="which wflw lacks; give faces300w:PATH"):
        load_images(DataSource("wflw", tmp_path), "train")
    with pytest.raises(DataError, match="no images of split 'test'"):
        load_images(write(tmp_path, ROW), "test")


def test_every_tenth_image_is_held_out() -> None:
    images = [BoxedImage(Path(f"{i}.jpg"), np.zeros((0, 4)), np.zeros(0)) for i in range(21)]
    training, held_out = hold_out_every(images, 10)
    assert [image.path.stem for image in held_out] == ["0", "10", "20"]
    assert len(training) == 18
    assert fingerprint(training) != fingerprint(images)


def test_the_shipped_configurations_a_whole_training_and_its_continuation() -> None:
    first, finetune = (load_config(DetectorConfig, name) for name in ("detector", "detector_finetune"))
    assert first.name == finetune.name == "detector"
    assert finetune.epochs < first.epochs
    assert finetune.learning_rate < first.learning_rate


def test_unknown_keys_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("[compose]\nflop = 0.5\n")
    with pytest.raises(ConfigError, match=r"compose\.flop: there is no such key"):
        load_config(DetectorConfig, str(path))
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(DetectorConfig, str(tmp_path / "nothing.toml"))
