"""The engine port: RGB crops in, decoded landmarks out; served by Triton, or by this very process.

Both engines run the same network and the same decode, and answer alike to the last bit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from landmarks.codec import CodecError, CodecSpec, Decoded, decode
from landmarks.golden import GOLDEN_TOLERANCE, golden_crop
from landmarks.metadata import PROVENANCE_KEY, MetadataError, ModelMetadata
from landmarks.repository import string_parameters
from landmarks.runtime import Network, NetworkError
from landmarks.tensors import DECODE_MODEL, ENSEMBLE_MODEL, HEATMAP_MODEL, TOPK_PARAMETER, Contract, contract

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 64
"""Requests that may wait for the in-process engine; as many as Triton's queue takes."""

LAST_CALLS_SECONDS: Final = 5.0
"""How long closing waits for calls to Triton that nobody listens to any more."""

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


# ---------------------------------------------------------------- Triton


class TritonEngine:
    """A Triton server reached by gRPC; it serves the ensemble of `model_repo/`."""

    def __init__(self, url: str) -> None:
        """`url`: gRPC address, host:port."""
        self._url = url
        self._client: Any = None
        self._model: ServedModel | None = None
        self._max_batch = 1
        self._calls: set[asyncio.Task[Any]] = set()
        self._proven: ServedModel | None = None

    @property
    def model(self) -> ServedModel:
        assert self._model is not None, "known after start"
        return self._model

    async def start(self) -> None:
        if self._client is None:
            self._client = InferenceServerClient(self._url, channel_args=_CHANNEL_ARGUMENTS)
        await self._identify()

    async def infer(
        self, crops: NDArray[np.uint8], *, topk: int | None = None, timeout: float | None = None
    ) -> Decoded:
        tensors = contract(self.model.metadata.codec)
        _check_request(crops, topk, self.model.metadata.codec)
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        parts = [
            await self._infer_batch(crops[first : first + self._max_batch], tensors, topk, deadline)
            for first in range(0, len(crops), self._max_batch)
        ]
        return _join(parts, tensors)

    async def ready(self) -> bool:
        """Asks Triton every time, and for the golden crop once for each model that it turns out to serve."""
        try:
            await self._identify()
            if self._proven != self.model:
                self._proven = self.model if await _answers_golden(self) else None
        except EngineError as error:
            logger.warning("Triton at %s is not ready: %s", self._url, error)
            self._proven = None
        return self._proven is not None

    async def close(self) -> None:
        if self._calls:
            await asyncio.wait(self._calls, timeout=LAST_CALLS_SECONDS)
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _identify(self) -> None:
        """Reads what is served; all three models must be of one making."""
        names = (ENSEMBLE_MODEL, HEATMAP_MODEL, DECODE_MODEL)
        configs = [await self._config(name) for name in names]
        stamps = [string_parameters(config) for config in configs]
        if stamps.count(stamps[0]) != len(stamps):
            raise EngineFailure(f"the models {', '.join(names)} of Triton at {self._url} were stamped differently")
        try:
            metadata = ModelMetadata.from_mapping(stamps[0])
        except MetadataError as error:
            raise EngineFailure(f"Triton at {self._url} serves a model without usable metadata: {error}") from error
        description = await self._call("get_model_metadata", ENSEMBLE_MODEL)
        version = max(description.versions, key=int)
        self._max_batch = max(1, configs[0].get("max_batch_size", 1))
        self._model = ServedModel(metadata.name, version, stamps[0].get(PROVENANCE_KEY, "unknown"), metadata)

    async def _config(self, name: str) -> dict[str, Any]:
        config: dict[str, Any] = (await self._call("get_model_config", name, as_json=True))["config"]
        return config

    async def _infer_batch(
        self, crops: NDArray[np.uint8], tensors: Contract, topk: int | None, deadline: float | None
    ) -> Decoded:
        values = InferInput(tensors.crops.name, list(crops.shape), tensors.crops.dtype)
        values.set_data_from_numpy(np.ascontiguousarray(crops))
        left = _seconds_left(deadline)
        call = self._call(
            "infer",
            ENSEMBLE_MODEL,
            [values],
            parameters=None if topk is None else {TOPK_PARAMETER: topk},
            # microseconds; Triton's queue drops what waited longer
            timeout=None if left is None else max(1, int(left * 1e6)),
        )
        answer = await self._uncancelled(call, left)
        return _checked(Decoded(*(answer.as_numpy(spec.name) for spec in tensors.outputs)), tensors, len(crops))

    async def _uncancelled(self, call: Coroutine[Any, Any, T], seconds: float | None) -> T:
        """Waits so long for a call, and no longer when the caller is cancelled; the call itself goes on unheard.

        Triton up to 24.11 can crash when a gRPC client cancels a request or lets its deadline pass (its issues 7368
        and 8034). Its own queue timeout, which the request carries, ends the call soon enough.
        """
        task = asyncio.ensure_future(call)
        self._calls.add(task)
        task.add_done_callback(self._forget)
        try:
            return await asyncio.wait_for(asyncio.shield(task), seconds)
        except asyncio.TimeoutError as error:
            raise EngineTimeout(f"Triton at {self._url} did not answer in time") from error

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._calls.discard(task)
        if not task.cancelled():
            task.exception()  # heard by the caller, or by nobody any more

    async def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        if self._client is None:
            raise EngineUnavailable("the engine is not started, or closed")
        try:
            return await getattr(self._client, method)(*arguments, **options)
        except InferenceServerException as error:
            raise _translated(error, self._url) from error


_CHANNEL_ARGUMENTS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # find a restarted Triton again within a second rather than two minutes
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


def _translated(error: InferenceServerException, url: str) -> EngineError:
    """The engine's error for Triton's: by gRPC code, and where one code means several things by Triton's words."""
    status, message = error.status(), str(error.message())
    if status == str(grpc.StatusCode.DEADLINE_EXCEEDED) or "timeout expired" in message.lower():
        return EngineTimeout(f"Triton at {url} did not answer in time")
    if "maximum queue size" in message:
        return EngineOverloaded(f"Triton at {url} has a full queue")
    if status == str(grpc.StatusCode.UNAVAILABLE):
        return EngineUnavailable(f"Triton at {url} is unavailable: {message}")
    return EngineFailure(f"Triton at {url} failed: {status} {message}")


def _seconds_left(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - asyncio.get_running_loop().time()
    if left <= 0:
        raise EngineTimeout("the deadline had passed before the request was sent")
    return left


# ---------------------------------------------------------------- in this process


class LocalEngine:
    """The same network and decode in this process, one request at a time in a thread of its own."""

    def __init__(self, model_path: Path) -> None:
        """`model_path`: the ONNX file; the name of its folder is the version when it is a number, else "1"."""
        self._path = model_path
        self._network: Network | None = None
        self._golden = False
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
            self._network = await self._run(lambda: Network(self._path), None)
        except ImportError as error:
            raise EngineUnavailable("OpenVINO is not installed: pip install h3r-landmarks[serve]") from error
        except (NetworkError, MetadataError) as error:
            raise EngineFailure(str(error)) from error

    async def infer(
        self, crops: NDArray[np.uint8], *, topk: int | None = None, timeout: float | None = None
    ) -> Decoded:
        network = self._network
        if network is None:
            raise EngineUnavailable("the engine is not started, or closed")
        codec = network.metadata.codec
        _check_request(crops, topk, codec)
        try:
            decoded = await self._run(lambda: decode(network(crops), codec, topk), timeout)
        except RuntimeError as error:
            raise EngineFailure(f"OpenVINO failed: {error}") from error
        return _checked(decoded, contract(codec), len(crops))

    async def ready(self) -> bool:
        """Runs the golden crop until it has been answered rightly once: the weights in memory do not change."""
        if self._network is None:
            return False
        try:
            self._golden = self._golden or await _answers_golden(self)
        except EngineError as error:
            logger.warning("the in-process engine is not ready: %s", error)
        return self._golden

    async def close(self) -> None:
        self._network = None
        await asyncio.to_thread(self._worker.shutdown, wait=True, cancel_futures=True)

    async def _run(self, work: Callable[[], T], timeout: float | None) -> T:
        """`work` in the worker thread. Past its deadline it is dropped from the queue, or finished unheard."""
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


def _check_request(crops: NDArray[np.uint8], topk: int | None, codec: CodecSpec) -> None:
    """Refuses what the model could not take, before it travels."""
    shape = contract(codec).crops.shape
    if crops.dtype != np.uint8 or crops.shape[1:] != shape:
        raise EngineFailure(f"crops must be uint8 [N, {', '.join(map(str, shape))}], not {crops.dtype} {crops.shape}")
    if topk is not None:
        try:
            codec.check_topk(topk)
        except CodecError as error:
            raise EngineFailure(str(error)) from error


def _checked(decoded: Decoded, tensors: Contract, faces: int) -> Decoded:
    """Raises EngineFailure unless every array is there, has its shape, and is finite."""
    for values, spec in zip(decoded, tensors.outputs, strict=True):
        if values is None or values.shape != (faces, *spec.shape):
            raise EngineFailure(f"the model's {spec.name} have a wrong shape: {getattr(values, 'shape', None)}")
        if not np.isfinite(values).all():
            raise EngineFailure(f"the model's {spec.name} are not finite")
    return decoded


def _join(parts: list[Decoded], tensors: Contract) -> Decoded:
    """Batches one after the other; no batch gives arrays without a face."""
    if len(parts) == 1:
        return parts[0]
    empty = Decoded(*(np.empty((0, *spec.shape), np.float32) for spec in tensors.outputs))
    return Decoded(*(np.concatenate(arrays) for arrays in zip(empty, *parts, strict=True)))


async def _answers_golden(engine: Engine) -> bool:
    """Whether the golden crop's points are those the model was exported with."""
    metadata = engine.model.metadata
    expected = np.array(metadata.golden_points, np.float32)
    points = (await engine.infer(golden_crop(metadata.codec.input_size)[None])).points[0]
    if expected.shape != points.shape:
        logger.error("the model's metadata holds no golden points: export it with landmarks-train export")
        return False
    error = float(np.abs(points - expected).max())
    if error > GOLDEN_TOLERANCE:
        logger.error("the golden crop is answered %.3f pixels off: wrong weights, or a wrong runtime", error)
    return error <= GOLDEN_TOLERANCE
