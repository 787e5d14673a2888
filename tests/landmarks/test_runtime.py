"""The network on the CPU. Needs the serving dependencies (OpenVINO) and the shipped model."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from landmarks.codec import decode
from landmarks.golden import GOLDEN_TOLERANCE, golden_crop
from landmarks.metadata import MetadataError
from landmarks.repository import model_path, provenance
from landmarks.runtime import Network, NetworkError, identify

pytest.importorskip("openvino", reason="the serving dependencies are not installed")


@pytest.fixture(scope="module")
def network(model_repository: Path) -> Network:
    return Network(model_path(model_repository))


def test_the_golden_crop_gives_the_points_the_model_states(network: Network) -> None:
    decoded = decode(network(golden_crop()[None]), network.metadata.codec)
    error = np.abs(decoded.points[0] - np.array(network.metadata.golden_points))
    assert error.shape == (98, 2)
    assert error.max() <= GOLDEN_TOLERANCE


def test_a_crops_heatmaps_do_not_depend_on_its_neighbours(network: Network) -> None:
    crops = np.stack([golden_crop(), 255 - golden_crop(), np.roll(golden_crop(), 9, axis=0)])
    crops.setflags(write=False)
    together = network(crops)
    assert together.shape == (3, 98, 64, 64)
    assert together.dtype == np.float32
    for i in (2, 0, 1):
        assert network(crops[i : i + 1]).tobytes() == together[i : i + 1].tobytes()
    assert network(crops[::-1]).tobytes() == together[::-1].tobytes()  # not contiguous


def test_identify_says_what_loading_says(network: Network, model_repository: Path) -> None:
    path = model_path(model_repository)
    assert identify(path) == (network.metadata, network.provenance)
    assert network.provenance == provenance(path.read_bytes())


def test_a_file_that_is_not_there_or_no_network(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="no model file"):
        Network(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_bytes(b"not a network")
    with pytest.raises(NetworkError, match="not an ONNX file"):
        Network(tmp_path / "model.onnx")


def test_a_model_that_does_not_say_what_it_is(model_repository: Path, tmp_path: Path) -> None:
    content = model_path(model_repository).read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(content.replace(b"landmarks_metadata", b"somebodys_metadata"))
    with pytest.raises(MetadataError, match="no 'landmarks_metadata' in the model"):
        Network(path)


def test_a_model_whose_tensors_are_not_what_it_says(model_repository: Path, tmp_path: Path) -> None:
    content = model_path(model_repository).read_bytes()
    stated = b'"stride": 4'
    assert content.count(stated) == 1
    path = tmp_path / "model.onnx"
    path.write_bytes(content.replace(stated, b'"stride": 8'))
    with pytest.raises(NetworkError, match="does not fit its own metadata"):
        Network(path)


def test_importing_the_module_loads_no_openvino() -> None:
    code = "import sys, landmarks.runtime; sys.exit('openvino' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_openvino_cannot_report_that_it_is_used(model_repository: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from landmarks.runtime import Network; "
        f"Network(Path({str(model_path(model_repository))!r})); assert sys.modules['openvino_telemetry'] is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
