"""Disturbed faces keep their true points, and the curves come out the same every time."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the training dependencies are not installed")

from landmarks.codec import CodecSpec
from landmarks.crop import Crop, transform_points
from tests.train.miniature import write_miniature
from train.datasets import DataSource
from train.errors import TrainingError
from train.evaluation.robustness import Robustness, measure, rank, write
from train.evaluation.trained import Trained
from train.samples.corruptions import DISTURBANCES, Disturbance, Scene, covered, misplaced, plain, shrunk, turned

SPOT = (130, 90)
"""A bright spot on a dark photograph, in its pixels."""


def scene(size: int = 64) -> Scene:
    photo = np.full((200, 200, 3), 20, np.uint8)
    cv2.circle(photo, SPOT, 4, (255, 255, 255), -1)
    return Scene(photo, Crop.around([50, 50, 150, 150], 1.25, size), size / 1.25)


def middle_of_the_light(pixels: np.ndarray) -> np.ndarray:
    weights = np.maximum(pixels.mean(axis=2) - 25, 0)
    rows, columns = np.mgrid[: len(pixels), : len(pixels)]
    return np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()


@pytest.mark.parametrize(
    ("disturbance", "strength"),
    [(each, each.strengths[i]) for each in DISTURBANCES for i in (0, 2) if each.name != "occlusion"],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_what_is_seen_lies_where_the_matrix_says(disturbance: Disturbance, strength: float) -> None:
    pixels, matrix = disturbance.disturb(scene(), strength, np.random.default_rng(0))
    assert pixels.shape == (64, 64, 3)
    assert pixels.dtype == np.uint8
    assert middle_of_the_light(pixels) == pytest.approx(transform_points(matrix, SPOT), abs=0.5)


def test_turned_by_so_many_degrees() -> None:
    _, matrix = turned(scene(), 30.0, np.random.default_rng(0))
    assert abs(matrix[0, 1] / matrix[0, 0]) == pytest.approx(np.tan(np.pi / 6))


def test_shrunk_to_so_many_pixels() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (200, 200, 3), np.uint8)
    pixels, _ = shrunk(scene()._replace(photo=noise), 8, rng)
    # ten pixels across the crop, smoothly enlarged: neighbours are nearly alike
    assert np.abs(np.diff(pixels.astype(int), axis=1)).max() < 30


@pytest.mark.parametrize("percent", [10, 40, 60])
def test_covered_by_so_much_of_the_square(percent: int) -> None:
    before, _ = plain(*scene(256)[:2])
    for seed in range(5):
        pixels, _ = covered(scene(256), percent, np.random.default_rng(seed))
        assert 100 * (pixels != before).any(axis=2).sum() / (256 / 1.25) ** 2 == pytest.approx(percent, abs=1.5)


def test_misplaced_by_so_much_of_the_box() -> None:
    _, straight = plain(*scene()[:2])
    _, matrix = misplaced(scene(), 20, np.random.default_rng(0))
    assert np.linalg.norm(matrix[:, 2] - straight[:, 2]) == pytest.approx(0.2 * 64 / 1.25)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> DataSource:
    return DataSource("faces300w", write_miniature(tmp_path_factory.mktemp("data") / "faces", train=1, val=2))


def brightest(crops: np.ndarray) -> np.ndarray:
    """A network whose every map is the crop's brightness: it depends on what is done to the crop."""
    small = np.stack([cv2.resize(crop, (16, 16), interpolation=cv2.INTER_AREA) for crop in crops])
    maps = small.mean(axis=3, dtype=np.float32)[:, None] / 32
    return np.repeat(maps, 98, axis=1)


@pytest.fixture(scope="module")
def result(source: DataSource) -> Robustness:
    return measure(Trained(brightest, CodecSpec(input_size=64), 1.25), source.test_faces(), source)


def test_every_strength_is_measured_on_every_face(result: Robustness) -> None:
    expected = [(each.name, strength) for each in DISTURBANCES for strength in each.strengths]
    assert [(row.disturbance, row.strength) for row in result.rows] == expected
    assert {row.faces for row in (result.plain, *result.rows)} == {2}
    assert set(result.auroc) == {each.name for each in DISTURBANCES} | {"all"}


def test_the_same_seed_gives_the_same_curves(result: Robustness, source: DataSource) -> None:
    model = Trained(brightest, CodecSpec(input_size=64), 1.25)
    assert measure(model, source.test_faces(), source) == result
    assert measure(model, source.test_faces(), source, seed=1).rows != result.rows


def test_failures_are_ranked_over_all_parts_together() -> None:
    right = (np.array([0.9, 0.8]), np.array([False, False]))
    wrong = (np.array([0.1, 0.85]), np.array([True, True]))
    assert rank([right, wrong]) == pytest.approx(0.75)
    assert rank([right]) is None


def test_what_is_written(result: Robustness, tmp_path: Path) -> None:
    write(result, tmp_path, "Of a network.")
    assert {path.name for path in tmp_path.iterdir()} == {"robustness.csv", "robustness.md", "robustness.png"}
    with (tmp_path / "robustness.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1 + len(result.rows)
    assert float(rows[0]["nme"]) == pytest.approx(result.plain.nme, abs=1e-3)
    text = (tmp_path / "robustness.md").read_text()
    assert "| longer side of the face's box, pixels | 256 | 128 |" in text
    assert cv2.imread(str(tmp_path / "robustness.png")) is not None


def test_a_network_of_other_points_is_refused(source: DataSource) -> None:
    with pytest.raises(TrainingError, match="the network finds 68 points"):
        measure(Trained(brightest, CodecSpec(points=68, input_size=64), 1.25), source.test_faces(), source)
