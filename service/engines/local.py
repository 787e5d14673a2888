"""The engine port in this process, without a server: OpenVINO and NumPy in a thread of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import Decoded, decode_output
from landmarks.golden import golden_crop
from landmarks.metadata import MetadataError
from landmarks.parallelism import AUTOMATIC, Parallelism
from landmarks.runtime import Network, NetworkError
from landmarks.tensors import contract
from service.answer import ServedModel
from service.deadline import Deadline
from service.engines.call_queue import MAX_WAITING, CallQueue
from service.engines.checks import check_golden, check_request, check_result, concatenate, one_by_one
from service.engines.port import EngineFailure, EngineOverloaded, EngineTimeout, EngineUnavailable
from service.memory import hold_during

MAX_BATCH: Final = 8
"""Crops that are computed before another request's turn comes, as many as in a call to Triton."""

T = TypeVar("T")


class _Key(NamedTuple):
    """What crops of one call have in common."""

    network: Network
    decoder: str | None
    topk: int | None


class LocalEngine:
    """Runs network and decoder in one worker thread, one request at a time."""

    def __init__(self, model_path: Path, parallelism: Parallelism = AUTOMATIC) -> None:
        """`model_path`: the ONNX file; the name of its folder is the version when it is a number, else "1"."""
        self._path = model_path
        self._parallelism = parallelism
        self._network: Network | None = None
        self._waiting = 0
        self._crops = CallQueue(
            "landmarks",
            self._infer_batch,
            max_batch=lambda _: MAX_BATCH,
            max_calls=lambda: 1,
            max_waiting=lambda: MAX_WAITING,
        )
        self._worker = ThreadPoolExecutor(1, "landmarks-engine")

    @property
    def model(self) -> ServedModel:
        assert self._network is not None, "known once start has succeeded"
        version = self._path.parent.name if self._path.parent.name.isdecimal() else "1"
        metadata = self._network.metadata
        return ServedModel(metadata.name, version, self._network.provenance, metadata)

    async def start(self) -> None:
        try:
            network = await self.run(lambda: Network(self._path, self._parallelism), None)
        except ImportError as error:
            raise EngineUnavailable("OpenVINO is not installed: pip install h3r-landmarks[serve]") from error
        except (NetworkError, MetadataError) as error:
            raise EngineFailure(str(error)) from error
        codec = network.metadata.codec
        golden = await self._infer_batch(_Key(network, None, None), [golden_crop(codec.input_size)], None)
        check_golden(network.metadata, golden[0])
        self._network = network

    async def infer(
        self,
        crops: NDArray[np.uint8],
        *,
        decoder: str | None = None,
        topk: int | None = None,
        deadline: Deadline | None = None,
    ) -> Decoded:
        network = self._network
        if network is None:
            raise EngineUnavailable("the engine is not started, or closed")
        check_request(crops, decoder, topk, network.metadata.codec)
        faces = await self._crops.submit(_Key(network, decoder, topk), list(crops), deadline)
        return concatenate(faces, contract(network.metadata.codec, network.metadata.has_visibility))

    async def _infer_batch(
        self, key: _Key, crops: Sequence[NDArray[np.uint8]], deadline: Deadline | None
    ) -> list[Decoded]:
        """The results of crops [H, W, 3], each of one face."""
        network, codec = key.network, key.network.metadata.codec
        try:
            decoded = await self.run(
                lambda: decode_output(network(np.stack(crops)), codec, key.topk, key.decoder), deadline
            )
        except RuntimeError as error:
            raise EngineFailure(f"OpenVINO failed: {error}") from error
        return one_by_one(check_result(decoded, contract(codec, network.metadata.has_visibility), len(crops)))

    async def ready(self) -> bool:
        """True once started: the golden crop was answered correctly then, and the weights in memory do not change."""
        return self._network is not None

    async def close(self) -> None:
        self._network = None
        await asyncio.to_thread(self._worker.shutdown, wait=True, cancel_futures=True)

    async def run(self, work: Callable[[], T], deadline: Deadline | None) -> T:
        """Runs `work` in the worker thread. Past the deadline it is removed from the queue, or its result is ignored.

        Raises EngineError, and what `work` raises.
        """
        if self._waiting > MAX_WAITING:
            raise EngineOverloaded(f"{MAX_WAITING} requests are waiting for the in-process engine")
        self._waiting += 1
        try:
            timeout = None if deadline is None else deadline.remaining()
            future = self._worker.submit(work)
            hold_during(future)
            return await asyncio.wait_for(asyncio.wrap_future(future), timeout)
        except asyncio.TimeoutError as error:
            raise EngineTimeout("the in-process engine did not answer in time") from error
        finally:
            self._waiting -= 1
