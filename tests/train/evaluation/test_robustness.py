"""The curves of the error over each corruption come out the same every time."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the training dependencies are not installed")

from landmarks.codec import CodecSpec, NetworkOutput, without_visibility
from landmarks.size import Size
from tests.train.miniature import write_miniature
from train.datasets.source import DataSource
from train.errors import TrainingError
from train.evaluation.robustness import Robustness, joint_auroc, measure, write
from train.evaluation.trained import Trained
from train.samples.corruptions import CORRUPTIONS


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> DataSource:
    return DataSource("faces300w", write_miniature(tmp_path_factory.mktemp("data") / "faces", train=1, val=2))


def brightest(crops: np.ndarray) -> NetworkOutput:
    """A network whose every map is the crop's brightness: it depends on what is done to the crop."""
    small = np.stack([cv2.resize(crop, (16, 16), interpolation=cv2.INTER_AREA) for crop in crops])
    maps = small.mean(axis=3, dtype=np.float32)[:, None] / 32
    return without_visibility(np.repeat(maps, 98, axis=1))


@pytest.fixture(scope="module")
def result(source: DataSource) -> Robustness:
    return measure(Trained(brightest, CodecSpec(input_size=Size.square(64)), 1.25), source.test_faces(), source)


def test_every_strength_is_measured_on_every_face(result: Robustness) -> None:
    expected = [(each.name, strength) for each in CORRUPTIONS for strength in each.strengths]
    assert [(row.corruption, row.strength) for row in result.rows] == expected
    assert {row.faces for row in (result.uncorrupted, *result.rows)} == {2}
    assert set(result.auroc) == {each.name for each in CORRUPTIONS} | {"all"}


def test_the_same_seed_gives_the_same_curves(result: Robustness, source: DataSource) -> None:
    model = Trained(brightest, CodecSpec(input_size=Size.square(64)), 1.25)
    assert measure(model, source.test_faces(), source) == result
    assert measure(model, source.test_faces(), source, seed=1).rows != result.rows


def test_failures_are_ranked_over_all_parts_together() -> None:
    right = (np.array([0.9, 0.8]), np.array([False, False]))
    wrong = (np.array([0.1, 0.85]), np.array([True, True]))
    assert joint_auroc([right, wrong]) == pytest.approx(0.75)
    assert joint_auroc([right]) is None


def test_what_is_written(result: Robustness, tmp_path: Path) -> None:
    write(result, tmp_path, "Of a network.")
    assert {path.name for path in tmp_path.iterdir()} == {"robustness.csv", "robustness.md", "robustness.png"}
    with (tmp_path / "robustness.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1 + len(result.rows)
    assert float(rows[0]["nme"]) == pytest.approx(result.uncorrupted.nme, abs=1e-3)
    text = (tmp_path / "robustness.md").read_text()
    assert "| longer side of the face's box, pixels | 256 | 128 |" in text
    assert cv2.imread(str(tmp_path / "robustness.png")) is not None


def test_a_network_of_other_points_is_refused(source: DataSource) -> None:
    with pytest.raises(TrainingError, match="the network finds 68 points"):
        measure(Trained(brightest, CodecSpec(points=68, input_size=Size.square(64)), 1.25), source.test_faces(), source)
