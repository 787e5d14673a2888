"""Runs an exported network on this machine's CPU with OpenVINO: the one place that loads a model file.

Triton's `heatmap` model and the service's in-process engine both use it, so the two answer alike to the last bit.
OpenVINO is imported when a model is loaded, so importing `landmarks` stays as light as NumPy.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landmarks.metadata import METADATA_KEY, ModelMetadata
from landmarks.repository import provenance
from landmarks.tensors import TensorSpec, contract

# importing OpenVINO would report the import to its makers; without this package it does not
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

if TYPE_CHECKING:
    import openvino

_NUMPY_TYPES = {"UINT8": np.uint8, "FP32": np.float32}


class NetworkError(RuntimeError):
    """A model file cannot be run; the message says why."""


class Network:
    """A loaded network: crops in, heatmaps out. One call at a time: it is not safe for several threads."""

    def __init__(self, path: Path) -> None:
        """Loads an ONNX file that landmarks-train exported.

        Raises NetworkError when it cannot be run, MetadataError when it does not say what it is.
        """
        model, self.metadata, self.provenance = _load(path)
        self._tensors = contract(self.metadata.codec)
        self._request = self._compile(model, path)

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB crops [N, S, S, 3] -> logits [N, points, cells, cells].

        One crop at a time: batching buys nothing on a CPU, and so a face's numbers do not depend on its neighbours.
        """
        heatmaps = np.empty((len(crops), *self._tensors.heatmaps.shape), np.float32)
        for crop, heatmap in zip(crops, heatmaps, strict=True):
            heatmap[:] = self._request.infer([crop[None]], share_outputs=True)[0][0]
        return heatmaps

    def _compile(self, model: openvino.Model, path: Path) -> Any:
        """An inference request for exactly one crop."""
        import openvino

        crops, heatmaps = self._tensors.crops, self._tensors.heatmaps
        try:
            model.reshape({crops.name: [1, *crops.shape]})
            _check_tensor(model.input(crops.name), crops)
            _check_tensor(model.output(heatmaps.name), heatmaps)
            # OpenVINO would choose bf16 by itself where the CPU has it
            options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
            return openvino.Core().compile_model(model, "CPU", options).create_infer_request()
        except RuntimeError as error:
            raise NetworkError(f"{path} does not fit its own metadata ({crops} -> {heatmaps}): {error}") from error


def identify(path: Path) -> tuple[ModelMetadata, str]:
    """What a model file says of itself, and its provenance, without making it ready to run. Raises as Network does."""
    _, metadata, model_provenance = _load(path)
    return metadata, model_provenance


def _load(path: Path) -> tuple[openvino.Model, ModelMetadata, str]:
    content = _read(path)
    model = _parse(content, path)
    return model, ModelMetadata.from_mapping(_properties(model)), provenance(content)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NetworkError(f"no model file {path} ({error.strerror}): run landmarks-train export") from error


def _parse(content: bytes, path: Path) -> openvino.Model:
    import openvino

    try:
        return openvino.Core().read_model(content)
    except RuntimeError as error:
        raise NetworkError(f"{path} is not an ONNX file that OpenVINO can read: {error}") from error


def _properties(model: openvino.Model) -> dict[str, str]:
    """The ONNX file's own metadata, which OpenVINO keeps under "framework"."""
    where = ["framework", METADATA_KEY]
    return {METADATA_KEY: model.get_rt_info(where).astype(str)} if model.has_rt_info(where) else {}


def _check_tensor(port: Any, spec: TensorSpec) -> None:
    shape, dtype = tuple(port.shape), port.element_type.to_dtype()
    if shape != (1, *spec.shape) or dtype != _NUMPY_TYPES[spec.dtype]:
        raise NetworkError(f"tensor {spec.name!r} is {dtype}{list(shape)}, not {spec.dtype}{[1, *spec.shape]}")
