"""The engine port: RGB crops in, decoded landmarks out; and the engine that is this very process.

`service.triton` has the other one. Both run the same network and the same decode, and answer alike to the last bit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import CodecError, CodecSpec, Decoded, decode
from landmarks.golden import GOLDEN_TOLERANCE, golden_crop
from landmarks.metadata import MetadataError, ModelMetadata
from landmarks.runtime import Network, NetworkError
from landmarks.tensors import Contract, contract

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 64
"""Requests that may wait for the in-process engine; as many as Triton's queue takes."""

T = TypeVar("T")


class EngineError(Exception):
    """The engine gave no answer. The message is for logs; it may quote the server."""


class EngineUnavailable(EngineError):
    """The engine cannot be reached, or is not ready."""


class EngineTimeout(EngineError):
    """The caller's deadline passed first."""


class EngineOverloaded(EngineError):
    """The queue is full: try again later."""


class EngineFailure(EngineError):
    """Anything else: the model is not what it should be, or its answer is not."""


@dataclass(frozen=True)
class ServedModel:
    """Which model answers."""

    name: str
    version: str
    provenance: str
    """`sha256:<hex>` of the model file."""
    metadata: ModelMetadata


class Engine(Protocol):
    """What the pipeline needs of an inference server."""

    @property
    def model(self) -> ServedModel:
        """The served model; known after `start`."""

    async def start(self) -> None:
        """Connects or loads; may be tried again after an error. Raises EngineError."""

    async def infer(
        self, crops: NDArray[np.uint8], *, topk: int | None = None, timeout: float | None = None
    ) -> Decoded:
        """RGB crops [N, S, S, 3] -> points, scores and covariances in crop pixels.

        `topk`: cells averaged by the decoder, the codec's own number when None. `timeout`: the caller's deadline in
        seconds from now. Raises EngineError.
        """

    async def ready(self) -> bool:
        """Whether requests can be served now, the golden crop having been answered rightly; never raises."""

    async def close(self) -> None:
        """Lets go of everything; harmless when called twice."""


# ---------------------------------------------------------------- in this process


class LocalEngine:
    """The same network and decode in this process, one request at a time in a thread of its own."""

    def __init__(self, model_path: Path) -> None:
        """`model_path`: the ONNX file; the name of its folder is the version when it is a number, else "1"."""
        self._path = model_path
        self._network: Network | None = None
        self._waiting = 0
        self._worker = ThreadPoolExecutor(1, "landmarks-engine")

    @property
    def model(self) -> ServedModel:
        assert self._network is not None, "known after start"
        version = self._path.parent.name if self._path.parent.name.isdecimal() else "1"
        metadata = self._network.metadata
        return ServedModel(metadata.name, version, self._network.provenance, metadata)

    async def start(self) -> None:
        try:
            network = await self.run(lambda: Network(self._path), None)
        except ImportError as error:
            raise EngineUnavailable("OpenVINO is not installed: pip install h3r-landmarks[serve]") from error
        except (NetworkError, MetadataError) as error:
            raise EngineFailure(str(error)) from error
        codec = network.metadata.codec
        check_golden(network.metadata, await self._decoded(network, golden_crop(codec.input_size)[None], None, None))
        self._network = network

    async def infer(
        self, crops: NDArray[np.uint8], *, topk: int | None = None, timeout: float | None = None
    ) -> Decoded:
        network = self._network
        if network is None:
            raise EngineUnavailable("the engine is not started, or closed")
        check_request(crops, topk, network.metadata.codec)
        return await self._decoded(network, crops, topk, timeout)

    async def _decoded(
        self, network: Network, crops: NDArray[np.uint8], topk: int | None, timeout: float | None
    ) -> Decoded:
        codec = network.metadata.codec
        try:
            decoded = await self.run(lambda: decode(network(crops), codec, topk), timeout)
        except RuntimeError as error:
            raise EngineFailure(f"OpenVINO failed: {error}") from error
        return checked(decoded, contract(codec), len(crops))

    async def ready(self) -> bool:
        """Once started: it has answered its golden crop rightly, and the weights in memory do not change."""
        return self._network is not None

    async def close(self) -> None:
        self._network = None
        await asyncio.to_thread(self._worker.shutdown, wait=True, cancel_futures=True)

    async def run(self, work: Callable[[], T], timeout: float | None) -> T:
        """`work` in the worker thread. Past its deadline it is dropped from the queue, or finished unheard.

        Raises EngineError, and whatever `work` raises.
        """
        if self._waiting > MAX_WAITING:
            raise EngineOverloaded(f"{MAX_WAITING} requests are waiting for the in-process engine")
        self._waiting += 1
        try:
            future = asyncio.get_running_loop().run_in_executor(self._worker, work)
            return await asyncio.wait_for(future, timeout)
        except asyncio.TimeoutError as error:
            raise EngineTimeout("the in-process engine did not answer in time") from error
        finally:
            self._waiting -= 1


# ---------------------------------------------------------------- shared


def check_request(crops: NDArray[np.uint8], topk: int | None, codec: CodecSpec) -> None:
    """Refuses what the model could not take, before it travels."""
    shape = contract(codec).crops.shape
    if crops.dtype != np.uint8 or crops.shape[1:] != shape:
        raise EngineFailure(f"crops must be uint8 [N, {', '.join(map(str, shape))}], not {crops.dtype} {crops.shape}")
    if topk is not None:
        try:
            codec.check_topk(topk)
        except CodecError as error:
            raise EngineFailure(str(error)) from error


def checked(decoded: Decoded, tensors: Contract, faces: int) -> Decoded:
    """Raises EngineFailure unless every array is there, has its shape, and is finite."""
    for values, spec in zip(decoded, tensors.outputs, strict=True):
        if values is None or values.shape != (faces, *spec.shape):
            raise EngineFailure(f"the model's {spec.name} have a wrong shape: {getattr(values, 'shape', None)}")
        if not np.isfinite(values).all():
            raise EngineFailure(f"the model's {spec.name} are not finite")
    return decoded


def joined(parts: list[Decoded], tensors: Contract) -> Decoded:
    """Batches one after the other; no batch gives arrays without a face."""
    if len(parts) == 1:
        return parts[0]
    empty = Decoded(*(np.empty((0, *spec.shape), np.float32) for spec in tensors.outputs))
    return Decoded(*(np.concatenate(arrays) for arrays in zip(empty, *parts, strict=True)))


def check_golden(metadata: ModelMetadata, decoded: Decoded) -> None:
    """Raises EngineFailure unless each answer to a batch of golden crops is what the model was exported with."""
    expected, points = np.array(metadata.golden_points, np.float32), decoded.points
    if expected.shape != points.shape[1:]:
        raise EngineFailure("the model's metadata holds no golden points: export it with landmarks-train export")
    error = float(np.abs(points - expected).max())
    if not error <= GOLDEN_TOLERANCE:
        raise EngineFailure(
            f"the golden crop is answered {error:.3f} pixels off in a batch of {len(points)}: "
            "wrong weights, or a wrong runtime"
        )
