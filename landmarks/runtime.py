"""Runs exported networks on this machine's CPU with OpenVINO: the one place that loads a model file.

Triton's models and the service's in-process engine both use it, so the two answer alike to the last bit.
OpenVINO is imported when a model is loaded, so importing `landmarks` stays as light as NumPy and OpenCV.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from landmarks.detection import DetectorMetadata, Maps
from landmarks.metadata import ModelMetadata
from landmarks.repository import MODEL_KINDS, provenance
from landmarks.tensors import TensorSpec, contract

# importing OpenVINO would report the import to its makers; without this package it does not
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

if TYPE_CHECKING:
    import openvino

_NUMPY_TYPES = {"UINT8": np.uint8, "FP32": np.float32}

_OPTIONS: Final = {
    "PERFORMANCE_HINT": "LATENCY",
    # OpenVINO would choose bf16 by itself where the CPU has it
    "INFERENCE_PRECISION_HINT": "f32",
}

_DETECTOR_OPTIONS: Final = {
    **_OPTIONS,
    # kernels that OpenVINO keeps: one for each layer and size of picture, about 40 for a size. Its own 5,000 take
    # 650 MB once pictures of many sizes have come. These take 60, and pictures of a few sizes still find theirs.
    "CPU_RUNTIME_CACHE_CAPACITY": 512,
}

M = TypeVar("M", ModelMetadata, DetectorMetadata)


class NetworkError(RuntimeError):
    """A model file cannot be run; the message says why."""


class Network:
    """A loaded network: crops in, heatmaps out. One call at a time: it is not safe for several threads."""

    def __init__(self, path: Path) -> None:
        """Loads an ONNX file that landmarks-train exported.

        Raises NetworkError when it cannot be run, MetadataError when it does not say what it is.
        """
        model, self.metadata, self.provenance = _load(path, ModelMetadata)
        self._tensors = contract(self.metadata.codec)
        self._request = self._compile(model, path)

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB crops [N, S, S, 3] -> logits [N, points, cells, cells].

        One crop at a time: batching buys nothing on a CPU, and so a face's numbers do not depend on its neighbours.
        """
        import openvino

        heatmaps = np.empty((len(crops), *self._tensors.heatmaps.shape), np.float32)
        for crop, heatmap in zip(crops, heatmaps, strict=True):
            # written where it belongs: copying it there would take a twentieth of an 8-bit network's time
            self._request.set_output_tensor(openvino.Tensor(heatmap[None], shared_memory=True))
            self._request.infer([crop[None]], share_outputs=True)
        return heatmaps

    def _compile(self, model: openvino.Model, path: Path) -> Any:
        """An inference request for exactly one crop."""
        crops, heatmaps = self._tensors.crops, self._tensors.heatmaps
        try:
            model.reshape({crops.name: [1, *crops.shape]})
            _check_tensor(model.input(crops.name), crops)
            _check_tensor(model.output(heatmaps.name), heatmaps)
            return _core().compile_model(model, "CPU", _OPTIONS).create_infer_request()
        except RuntimeError as error:
            raise NetworkError(f"{path} does not fit its own metadata ({crops} -> {heatmaps}): {error}") from error


class DetectorNetwork:
    """A loaded face detector: the network that `landmarks.detection.find_faces` asks. Not safe for several threads."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        """Loads an ONNX file that landmarks-train export-detector wrote. `threads`: 0 leaves them to OpenVINO.

        Raises NetworkError when it cannot be run, MetadataError when it does not say what it is.
        """
        model, self.metadata, self.provenance = _load(path, DetectorMetadata)
        _check_detector(model, self.metadata, path)
        options = {**_DETECTOR_OPTIONS, "INFERENCE_NUM_THREADS": threads}
        try:
            self._request = _core().compile_model(model, "CPU", options).create_infer_request()
        except RuntimeError as error:
            raise NetworkError(f"{path} cannot be run: {error}") from error

    def __call__(self, pictures: NDArray[np.uint8]) -> Maps:
        """A picture [1, H, W, 3], sides as its spec demands -> a map per level, to be read before the next call."""
        return [maps[0] for maps in self._request.infer([pictures], share_outputs=True).values()]


def identify(path: Path) -> tuple[ModelMetadata, str]:
    """What a model file says of itself, and its provenance, without making it ready to run. Raises as Network does."""
    _, metadata, model_provenance = _load(path, ModelMetadata)
    return metadata, model_provenance


def _load(path: Path, kind: type[M]) -> tuple[openvino.Model, M, str]:
    content = _read(path, MODEL_KINDS[kind].command)
    model = _parse(content, path)
    return model, kind.from_mapping(_properties(model, MODEL_KINDS[kind].key)), provenance(content)


@cache
def _core() -> openvino.Core:
    """The one of this process, which it keeps to its end.

    The first network of a Core makes it a stack for signals, and its end puts the one before in place again: of several
    Cores that do not end in reverse order one leaves a stack that is gone, and the next signal ends the process.
    """
    import openvino

    return openvino.Core()


def _read(path: Path, command: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NetworkError(f"no model file {path} ({error.strerror}): run {command}") from error


def _parse(content: bytes, path: Path) -> openvino.Model:
    try:
        return _core().read_model(content)
    except RuntimeError as error:
        raise NetworkError(f"{path} is not an ONNX file that OpenVINO can read: {error}") from error


def _properties(model: openvino.Model, key: str) -> dict[str, str]:
    """The entry of the ONNX file's own metadata, which OpenVINO keeps under "framework"."""
    where = ["framework", key]
    return {key: model.get_rt_info(where).astype(str)} if model.has_rt_info(where) else {}


def _check_detector(model: openvino.Model, metadata: DetectorMetadata, path: Path) -> None:
    takes = [(port.partial_shape.rank.get_length(), port.element_type.to_dtype()) for port in model.inputs]
    if takes != [(4, np.uint8)] or len(model.outputs) != len(metadata.spec.levels):
        raise NetworkError(f"{path} does not fit its own metadata: {model.inputs} -> {model.outputs}")


def _check_tensor(port: Any, spec: TensorSpec) -> None:
    shape, dtype = tuple(port.shape), port.element_type.to_dtype()
    if shape != (1, *spec.shape) or dtype != _NUMPY_TYPES[spec.dtype]:
        raise NetworkError(f"tensor {spec.name!r} is {dtype}{list(shape)}, not {spec.dtype}{[1, *spec.shape]}")
