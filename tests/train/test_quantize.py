"""The 8-bit network: as a user makes it, from the shipped repository."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training dependencies are not installed")

from landmarks.codec import decode
from landmarks.golden import golden_crop
from landmarks.repository import model_path
from landmarks.runtime import Network
from tests.train.command import landmarks_train
from tests.train.miniature import write_miniature
from train.datasets import DataSource
from train.errors import TrainingError
from train.quantize import quantize, timed
from train.trained import open_export


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> DataSource:
    return DataSource("faces300w", write_miniature(tmp_path_factory.mktemp("data") / "faces", train=3, val=1))


def test_a_repository_of_its_own(source: DataSource, repository_copy: Path, tmp_path: Path) -> None:
    if not find_spec("nncf"):
        pytest.skip("NNCF is not installed")
    before = model_path(repository_copy).read_bytes()
    out = tmp_path / "int8"
    # a process of its own: where NNCF has been imported, training crashes later on
    data = f"{source.name}:{source.root}"
    done = landmarks_train("quantize", "--repository", repository_copy, "--data", data, "--out", out, "--samples", 3)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["faces"] == 1
    assert figures["float32"]["nme"] + figures["nme_added"] == pytest.approx(figures["int8"]["nme"])
    assert figures["speedup"] == pytest.approx(figures["float32"]["milliseconds"] / figures["int8"]["milliseconds"])
    assert model_path(repository_copy).read_bytes() == before

    plain, quantized = Network(model_path(repository_copy)), Network(model_path(out))
    assert len(model_path(out).read_bytes()) < len(before) / 2
    assert quantized.metadata.name == f"{plain.metadata.name}-int8"
    assert quantized.metadata.codec == plain.metadata.codec
    assert quantized.provenance in (out / "heatmap" / "config.pbtxt").read_text()
    answered = decode(quantized(golden_crop()[None]), quantized.metadata.codec).points[0]
    assert np.abs(answered - np.array(quantized.metadata.golden_points)).max() < 0.01
    # OpenVINO rewrites an 8-bit network before it runs it; where that goes wrong the two are about a pixel apart
    maps = open_export(model_path(out)).network(golden_crop()[None])
    assert np.abs(answered - decode(maps, quantized.metadata.codec).points[0]).mean() < 0.4
    # coarser, and three drawn faces are no calibration, but the same face
    assert 0.001 < np.abs(answered - np.array(plain.metadata.golden_points)).mean() < 1

    with pytest.raises(TrainingError, match="exists: choose another --out"):
        quantize(repository_copy, out, source, samples=3)
    with pytest.raises(TrainingError, match="is quantized already"):
        quantize(out, tmp_path / "again", source, samples=3)


def test_networks_are_timed_in_turn() -> None:
    asked: list[str] = []
    crops = np.zeros((2, 4, 4, 3), np.uint8)
    spent = timed({"a": lambda crop: asked.append("a"), "b": lambda crop: asked.append("b")}, crops, rounds=3)
    assert asked == ["a", "b"] * 3
    assert set(spent) == {"a", "b"}
