"""The engine port in this process, without a server: OpenVINO and NumPy in a thread of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import Decoded, decode_output
from landmarks.golden import golden_crop
from landmarks.metadata import MetadataError
from landmarks.runtime import Network, NetworkError
from landmarks.tensors import contract
from service.answer import ServedModel
from service.deadline import Deadline
from service.engines.checks import check_golden, check_request, check_result
from service.engines.port import EngineFailure, EngineOverloaded, EngineTimeout, EngineUnavailable
from service.memory import hold_during

MAX_WAITING: Final = 64
"""Requests that may wait for the engine, as many as in Triton's queue."""

T = TypeVar("T")


class LocalEngine:
    """Runs network and decoder in one worker thread, one request at a time."""

    def __init__(self, model_path: Path) -> None:
        """`model_path`: the ONNX file; the name of its folder is the version when it is a number, else "1"."""
        self._path = model_path
        self._network: Network | None = None
        self._waiting = 0
        self._worker = ThreadPoolExecutor(1, "landmarks-engine")

    @property
    def model(self) -> ServedModel:
        assert self._network is not None, "known once start has succeeded"
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
        check_golden(network.metadata, await self._infer(network, golden_crop(codec.input_size)[None]))
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
        return await self._infer(network, crops, decoder, topk, deadline)

    async def _infer(
        self,
        network: Network,
        crops: NDArray[np.uint8],
        decoder: str | None = None,
        topk: int | None = None,
        deadline: Deadline | None = None,
    ) -> Decoded:
        codec = network.metadata.codec
        try:
            decoded = await self.run(lambda: decode_output(network(crops), codec, topk, decoder), deadline)
        except RuntimeError as error:
            raise EngineFailure(f"OpenVINO failed: {error}") from error
        return check_result(decoded, contract(codec, network.metadata.has_visibility), len(crops))

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
