"""The network on the CPU. Needs the serving dependencies (OpenVINO) and the shipped model."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from landmarks import runtime
from landmarks.codec import decode_output
from landmarks.detection import find_faces
from landmarks.detector import DetectorMetadata
from landmarks.golden import GOLDEN_TOLERANCE, golden_crop
from landmarks.metadata import MetadataError
from landmarks.parallelism import Parallelism
from landmarks.repository import model_path, provenance
from landmarks.runtime import DetectorNetwork, Network, NetworkError, identify

pytest.importorskip("openvino", reason="the serving dependencies are not installed")


@pytest.fixture(scope="module")
def network(model_repository: Path) -> Network:
    return Network(model_path(model_repository))


def test_the_golden_crop_gives_the_points_the_model_states(network: Network) -> None:
    decoded = decode_output(network(golden_crop()[None]), network.metadata.codec)
    error = np.abs(decoded.points[0] - np.array(network.metadata.golden_points))
    assert error.shape == (98, 2)
    assert error.max() <= GOLDEN_TOLERANCE


def test_a_crops_heatmaps_do_not_depend_on_its_neighbours(network: Network) -> None:
    crops = np.stack([golden_crop(), 255 - golden_crop(), np.roll(golden_crop(), 9, axis=0)])
    crops.setflags(write=False)
    together = network(crops).heatmaps
    assert together.shape == (3, 98, 64, 64)
    assert together.dtype == np.float32
    for i in (2, 0, 1):
        assert network(crops[i : i + 1]).heatmaps.tobytes() == together[i : i + 1].tobytes()
    assert network(crops[::-1]).heatmaps.tobytes() == together[::-1].tobytes()  # not contiguous


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 8])
def test_crops_are_computed_alike_however_many_there_are(
    count: int, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = network._alone.get_compiled_model()
    monkeypatch.setattr(network, "_beside", [compiled.create_infer_request() for _ in range(4)])
    crops = np.stack([np.roll(golden_crop(), 9 * i, axis=0) for i in range(count)] or [golden_crop()])[:count]
    together = network(crops)
    monkeypatch.setattr(network, "_beside", [network._alone])
    for found, expected in zip(together, network(crops), strict=True):
        assert found.tobytes() == expected.tobytes()


def test_threads_are_those_of_the_quota(model_repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "cores", lambda: 1)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    network = Network(model_path(model_repository))
    assert network._alone.get_compiled_model().get_property("INFERENCE_NUM_THREADS") == 1
    assert network._beside == [network._alone]


@pytest.mark.skipif(os.cpu_count() == 1, reason="OpenVINO takes no more threads than there are cores")
def test_threads_and_streams_can_be_chosen(network: Network, model_repository: Path) -> None:
    """The numbers are the same to the bit. There are no more streams than threads."""
    crops = np.stack([np.roll(golden_crop(), 9 * i, axis=0) for i in range(3)])
    expected = network(crops).heatmaps
    for parallelism, streams in ((Parallelism(2, 2), 2), (Parallelism(2, 1), 1), (Parallelism(1, 4), 1)):
        chosen = Network(model_path(model_repository), parallelism)
        assert chosen._alone.get_compiled_model().get_property("INFERENCE_NUM_THREADS") == parallelism.threads
        assert len(chosen._beside) == streams
        assert chosen(crops).heatmaps.tobytes() == expected.tobytes()


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


# ---------------------------------------------------------------- the detector


@pytest.fixture(scope="module")
def detector(model_repository: Path) -> DetectorNetwork:
    return DetectorNetwork(model_path(model_repository, kind=DetectorMetadata), threads=1)


def test_the_golden_crops_face_is_found_where_the_detector_states(detector: DetectorNetwork) -> None:
    found = find_faces(golden_crop(), detector, detector.metadata.spec)
    assert np.abs(found.boxes[0] - detector.metadata.golden_box).max() <= GOLDEN_TOLERANCE


def test_pictures_of_any_size_give_maps_of_its_strides(detector: DetectorNetwork) -> None:
    for height, width in ((64, 96), (32, 32), (160, 64)):
        maps = detector(np.zeros((1, height, width, 3), np.uint8))
        assert [level.shape for level in maps] == [(3, height // s, width // s) for s in (8, 16, 32)]
        assert {level.dtype for level in maps} == {np.dtype(np.float32)}


def test_the_detector_knows_its_provenance(detector: DetectorNetwork, model_repository: Path) -> None:
    path = model_path(model_repository, kind=DetectorMetadata)
    assert detector.provenance == provenance(path.read_bytes())


def test_a_landmark_network_is_no_detector_nor_the_other_way_round(model_repository: Path, tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r"no 'landmarks_detector'.* export-detector"):
        DetectorNetwork(model_path(model_repository))
    with pytest.raises(MetadataError, match="no 'landmarks_metadata'"):
        Network(model_path(model_repository, kind=DetectorMetadata))
    with pytest.raises(NetworkError, match=r"no model file .* export-detector"):
        DetectorNetwork(tmp_path / "model.onnx")


def test_a_detector_whose_maps_are_not_what_it_says(model_repository: Path, tmp_path: Path) -> None:
    content = model_path(model_repository, kind=DetectorMetadata).read_bytes()
    stated, path = b"[[8, 10.0, 48.0], [16, 36.0, 96.0], [32, 72.0, 208.0]]", tmp_path / "model.onnx"
    assert content.count(stated) == 1
    # two levels, in as many bytes: padded with blanks
    path.write_bytes(content.replace(stated, b"[[8, 10.0, 48.0], [16, 36.0, 96.0]]".ljust(len(stated))))
    with pytest.raises(NetworkError, match="does not fit its own metadata"):
        DetectorNetwork(path)


def test_importing_the_module_loads_no_openvino() -> None:
    code = "import sys, landmarks.runtime; sys.exit('openvino' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_openvino_cannot_report_that_it_is_used(model_repository: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from landmarks.runtime import Network; "
        f"Network(Path({str(model_path(model_repository))!r})); assert sys.modules['openvino_telemetry'] is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_networks_may_end_in_any_order(model_repository: Path) -> None:
    """A Core for each would leave the process a signal stack that is gone."""
    code = f"""
import gc, os, signal
from pathlib import Path
from landmarks.runtime import Network
first, second = (Network(Path({str(model_path(model_repository))!r})) for _ in range(2))
del first
gc.collect()
del second
gc.collect()
signal.signal(signal.SIGUSR1, lambda *_: print("alive"))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n")
