"""Runs exported networks on this machine's CPU with OpenVINO; nothing else loads a model file.

Triton's models and the service's in-process engine both use it, so that their answers are equal to the last bit.
OpenVINO is imported when a model is loaded, so that importing `landmarks` needs no more than NumPy and OpenCV.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import NetworkOutput
from landmarks.control_groups import cores
from landmarks.detection import DetectorMaps
from landmarks.detector import DetectorMetadata
from landmarks.metadata import ModelMetadata
from landmarks.parallelism import AUTOMATIC, MAX_STREAMS, Parallelism
from landmarks.repository import MODEL_KINDS, provenance
from landmarks.tensors import TensorSpec, contract

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
    # compiled kernels that OpenVINO caches: one for each layer and size of image, about 40 for a size. Its default of
    # 5,000 takes 650 MB once images of many sizes have been run. These take 130 MB, and suffice for two dozen sizes
    # of `landmarks.detection.canvas_side`: six photographs of different sizes, at four sizes each.
    "CPU_RUNTIME_CACHE_CAPACITY": 1024,
}

M = TypeVar("M", ModelMetadata, DetectorMetadata)
R = TypeVar("R")


class NetworkError(RuntimeError):
    """A model file cannot be run; the message says why."""


class Network:
    """A loaded network: crops in, heatmaps and visibility out. Not thread-safe: one call at a time."""

    def __init__(self, path: Path, parallelism: Parallelism = AUTOMATIC) -> None:
        """Loads an ONNX file that landmarks-train exported.

        Raises NetworkError when it cannot be run, MetadataError when it states no metadata.
        """
        model, self.metadata, self.provenance = _load(path, ModelMetadata)
        self._tensors = contract(self.metadata.codec, self.metadata.has_visibility)
        self._alone, self._beside = self._compile(model, path, parallelism)

    def __call__(self, crops: NDArray[np.uint8]) -> NetworkOutput:
        """RGB crops [N, H, W, 3] -> logits [N, points, rows, columns], and visibility where the network states it.

        Each crop by itself: batches gain nothing on a CPU, and so the numbers of a face do not depend on its batch.
        Several are computed beside each other, by a part of the threads each, which takes less of their time than one
        after the other by all of them (docs/decisions/0057).
        """
        visibility = self._tensors.visibility
        output = NetworkOutput(
            np.empty((len(crops), *self._tensors.heatmaps.shape), np.float32),
            np.empty((len(crops), *(visibility.shape if visibility else (0,))), np.float32),
        )
        rest = len(crops) % len(self._beside)
        # a rest that would leave most threads idle is done sooner one by one
        split = len(crops) - (rest if 2 * rest <= len(self._beside) else 0)
        for part, requests in ((slice(split), self._beside), (slice(split, None), [self._alone])):
            self._run(requests, crops[part], [values[part] for values in output])
        return output

    def _run(self, requests: list[Any], crops: NDArray[np.uint8], outputs: list[NDArray[np.float32]]) -> None:
        """Each request takes the next crop when it has done its last; the outputs are written in place."""
        import openvino

        for i, crop in enumerate(crops):
            request = requests[i % len(requests)]
            request.wait()
            # copying the outputs would take a twentieth of the time of an 8-bit network
            for spec, values in zip(self._tensors.predicted, outputs, strict=False):
                request.set_tensor(spec.name, openvino.Tensor(values[i : i + 1], shared_memory=True))
            request.start_async([crop[None]], share_inputs=True)
        for request in requests:
            request.wait()

    def _compile(self, model: openvino.Model, path: Path, parallelism: Parallelism) -> tuple[Any, list[Any]]:
        """Inference requests for exactly one crop: one that has all threads, and those among which they are divided."""
        crops, predicted = self._tensors.crops, self._tensors.predicted
        try:
            model.reshape({crops.name: [1, *crops.shape]})
            _check_tensor(model.input(crops.name), crops)
            for spec in predicted:
                _check_tensor(model.output(spec.name), spec)
            compiled = _core().compile_model(model, "CPU", {**_OPTIONS, **_thread_options(parallelism.threads)})
            alone = compiled.create_infer_request()
            threads = compiled.get_property("INFERENCE_NUM_THREADS")
            streams = min(parallelism.streams or threads, threads, MAX_STREAMS)
            if streams == 1:
                return alone, [alone]
            divided = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": streams, "ENABLE_CPU_PINNING": False}
            compiled = _core().compile_model(model, "CPU", {**_OPTIONS, **divided})
            return alone, [compiled.create_infer_request() for _ in range(streams)]
        except RuntimeError as error:
            raise NetworkError(f"{path} does not fit its own metadata ({crops} -> {predicted}): {error}") from error


class DetectorNetwork:
    """A loaded face detector: a `landmarks.detection.DetectorFunction`. Not thread-safe: one call at a time."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        """Loads an ONNX file that landmarks-train export-detector wrote. `threads`: 0 leaves the number to OpenVINO,
        within the quota of the control group.

        Raises NetworkError when it cannot be run, MetadataError when it states no metadata.
        """
        model, self.metadata, self.provenance = _load(path, DetectorMetadata)
        _check_detector(model, self.metadata, path)
        options = {**_DETECTOR_OPTIONS, **_thread_options(threads)}
        try:
            self._request = _core().compile_model(model, "CPU", options).create_infer_request()
        except RuntimeError as error:
            raise NetworkError(f"{path} cannot be run: {error}") from error

    def __call__(self, images: NDArray[np.uint8]) -> DetectorMaps:
        """An RGB image [1, H, W, 3] -> a map per level, valid until the next call."""
        return [maps[0] for maps in self._request.infer([images], share_outputs=True).values()]


def consume(tensor: Any, function: Callable[[NDArray[Any]], R]) -> R:
    """The function's result, which holds none of the values, for those of one of Triton's inputs, in whose place in the
    region of shared memory there are zeros afterwards. Otherwise they would stay there until those of another request
    take their place.
    """
    values = np.from_dlpack(tensor)  # unlike as_numpy, not a copy; read-only
    try:
        return function(values)
    finally:
        ctypes.memset(values.ctypes.data, 0, values.nbytes)


def identify(path: Path) -> tuple[ModelMetadata, str]:
    """The metadata of a model file and its provenance, without compiling the network. Raises as Network does."""
    _, metadata, model_provenance = _load(path, ModelMetadata)
    return metadata, model_provenance


def _load(path: Path, kind: type[M]) -> tuple[openvino.Model, M, str]:
    content = _read(path, MODEL_KINDS[kind].command)
    model = _parse(content, path)
    return model, kind.from_mapping(_properties(model, MODEL_KINDS[kind].key)), provenance(content)


def _thread_options(threads: int) -> dict[str, Any]:
    """OpenVINO counts the cores of the machine, whatever share of their time a control group leaves to this process.
    `threads`: 0 for as many as it may have.
    """
    if threads:
        return {"INFERENCE_NUM_THREADS": threads}
    allowed = cores()
    if allowed == os.cpu_count():
        return {}
    # each process would be pinned to the first cores, as those of other containers are
    return {"INFERENCE_NUM_THREADS": allowed, "ENABLE_CPU_PINNING": False}


@cache
def _core() -> openvino.Core:
    """The one Core of this process, which lives as long as the process.

    The first network of a Core installs an alternate signal stack, and the Core's destruction restores the previous
    one: of several Cores that are not destroyed in reverse order, one restores a stack that is gone, and the next
    signal kills the process.
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
    """The entry of the ONNX file's own metadata, which OpenVINO has under "framework"."""
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
