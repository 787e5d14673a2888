"""The 8-bit network: as a user makes it, from the shipped repository."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="the training dependencies are not installed")

from landmarks.codec import decode_output
from landmarks.golden import check_golden_answer, golden_crop
from landmarks.repository import model_path, remove_int8
from landmarks.runtime import Network
from tests.train.command import landmarks_train
from tests.train.miniature import write_miniature
from train.datasets.source import DataSource
from train.errors import TrainingError
from train.evaluation.trained import open_export
from train.export.quantize import quantize, time_networks


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> DataSource:
    return DataSource("faces300w", write_miniature(tmp_path_factory.mktemp("data") / "faces", train=3, val=1))


def test_beside_the_network_in_its_repository(source: DataSource, repository_copy: Path) -> None:
    if not find_spec("nncf"):
        pytest.skip("NNCF is not installed")
    remove_int8(repository_copy)
    before = model_path(repository_copy).read_bytes()
    # a process of its own: where NNCF has been imported, training crashes later on
    data = f"{source.name}:{source.root}"
    done = landmarks_train("quantize", "--repository", repository_copy, "--data", data, "--samples", 3)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["faces"] == 1
    assert figures["float32"]["nme"] + figures["nme_added"] == pytest.approx(figures["int8"]["nme"])
    assert figures["speedup"] == pytest.approx(figures["float32"]["milliseconds"] / figures["int8"]["milliseconds"])
    assert model_path(repository_copy).read_bytes() == before

    path = model_path(repository_copy, precision="int8")
    plain, quantized = Network(model_path(repository_copy)), Network(path)
    assert len(path.read_bytes()) < len(before) / 2
    assert quantized.metadata.name == f"{plain.metadata.name}-int8"
    assert quantized.metadata.codec == plain.metadata.codec
    for name in ("heatmap", "decode", "landmarks"):
        assert quantized.provenance in (repository_copy / name / "configs" / "int8.pbtxt").read_text()
        assert plain.provenance in (repository_copy / name / "config.pbtxt").read_text()
    decoded = decode_output(quantized(golden_crop()[None]), quantized.metadata.codec)
    check_golden_answer(quantized.metadata, decoded)
    answered = decoded.points[0]
    assert np.abs(answered - np.array(quantized.metadata.golden_points)).max() < 0.01
    # OpenVINO rewrites an 8-bit network before it runs it; where that goes wrong the two are about a pixel apart
    output = open_export(path).network(golden_crop()[None])
    assert np.abs(answered - decode_output(output, quantized.metadata.codec).points[0]).mean() < 0.4
    # coarser, and three drawn faces are no calibration, but the same face
    assert 0.001 < np.abs(answered - np.array(plain.metadata.golden_points)).mean() < 1.5

    # what is quantized already is not quantized again
    path.replace(model_path(repository_copy))
    with pytest.raises(TrainingError, match="is quantized already"):
        quantize(repository_copy, source, samples=3)


def weights_of(path: Path) -> list[NDArray[np.int8]]:
    """The 8-bit constants of a network that are weights of its convolutions."""
    import onnx

    tensors = onnx.load(path).graph.initializer
    return [
        onnx.numpy_helper.to_array(each) for each in tensors if each.data_type == onnx.TensorProto.INT8 and each.dims
    ]


def test_the_shipped_weights_leave_room_for_sums_in_sixteen_bits(model_repository: Path) -> None:
    """Two products of an unsigned byte and a weight: 2 * 255 * 64 is still below 2^15, 2 * 255 * 127 is not."""
    weights = [each for each in weights_of(model_path(model_repository, precision="int8")) if each.ndim == 4]
    assert len(weights) == 49
    assert max(int(np.abs(each.astype(int)).max()) for each in weights) <= 64


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the instructions are those of x86-64")
@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE"])
def test_cpus_without_instructions_for_8_bits_give_the_same_answer(instructions: str, model_repository: Path) -> None:
    path = model_path(model_repository, precision="int8")
    program = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from landmarks.codec import decode_output; from landmarks.golden import check_golden_answer, golden_crop\n"
        "from landmarks.runtime import Network\n"
        "network = Network(Path(sys.argv[1])); codec = network.metadata.codec\n"
        "decoded = decode_output(network(golden_crop(codec.input_size)[None]), codec)\n"
        "check_golden_answer(network.metadata, decoded)\n"
        "print(np.abs(decoded.points[0] - np.array(network.metadata.golden_points)).max())"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": instructions}
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.01


def test_networks_are_timed_in_turn() -> None:
    asked: list[str] = []
    crops = np.zeros((2, 4, 4, 3), np.uint8)
    spent = time_networks({"a": lambda crop: asked.append("a"), "b": lambda crop: asked.append("b")}, crops, rounds=3)
    assert asked == ["a", "b"] * 3
    assert set(spent) == {"a", "b"}
