"""A stand-in for Triton on a real socket, which says and does what a test tells it to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import model_config_pb2, service_pb2_grpc
from tritonclient.grpc import service_pb2 as pb

from landmarks.codec import CodecSpec
from landmarks.metadata import ModelMetadata
from landmarks.repository import PROVENANCE_KEY
from landmarks.size import Size
from landmarks.tensors import DECODE_MODEL, DESCRIBE, METADATA, contract
from service.engines.triton.endpoint import Endpoint


class TritonDouble(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers every inference with its own name, or with `failure`; with a `gate`, not before that is open."""

    def __init__(self, name: str = "a") -> None:
        self.name = name
        self.address = ""
        self.ready = True
        self.failure: tuple[grpc.StatusCode, str] | None = None
        self.gate: asyncio.Event | None = None
        self.arrived = asyncio.Event()
        self.answered = asyncio.Event()
        self.requests: list[pb.ModelInferRequest] = []
        self._server: Any = None

    async def start(self) -> None:
        """Listens on a free port; after `stop`, on the same one again."""
        self._server = grpc.aio.server()
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        """At once: calls in flight break off."""
        await self._server.stop(None)

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.ServerReadyResponse(ready=self.ready)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests.append(request)
        self.arrived.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            await context.abort(*self.failure)
        self.answered.set()
        return pb.ModelInferResponse(model_name=self.name)


@asynccontextmanager
async def doubles(*names: str) -> AsyncIterator[list[TritonDouble]]:
    """Servers that run, each under a name of its own."""
    servers = [TritonDouble(name) for name in names]
    for server in servers:
        await server.start()
    try:
        yield servers
    finally:
        for server in servers:
            await server.stop()


async def verify(endpoint: Endpoint[str]) -> str:
    """For endpoints that serve the same: whatever is ready is right."""
    return "the model"


def name_of(answer: Any) -> str:
    """Which of the doubles gave an answer of tritonclient's."""
    return str(answer.get_response().model_name)


class ModelDouble(TritonDouble):
    """Serves a model of its own: answers each crop with that model's golden points, moved by as much as a test says."""

    def __init__(self, max_batch: int = 8) -> None:
        super().__init__()
        golden = tuple((float(i), 2.0 * i) for i in range(98))
        self.metadata = ModelMetadata(
            "double",
            CodecSpec(input_size=Size.square(64)),
            1.25,
            "run-1",
            ("faces",),
            golden_points=golden,
            golden_scores=(1.0,) * 98,
            golden_covariances=((1.0, 1.0, 1.0),) * 98,
        )
        self.max_batch = max_batch
        self.provenances: dict[str, str] = {}
        """The hash that a model's configuration has, where it is not that of the others."""
        self.states_metadata = True
        """Whether `decode` does, as it did not in earlier releases."""
        self.moved: dict[int, float] = {}
        """Crop pixels that the last answer of a batch of this size is wrong by."""
        self.score = self.variance = 1.0
        """Of every point that it answers with; 1 is right."""

    @property
    def batches(self) -> list[int]:
        """Sizes of the batches it was asked for, in order."""
        return [request.inputs[0].shape[0] for request in self.requests if request.inputs[0].name != DESCRIBE.name]

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        texts = {PROVENANCE_KEY: self.provenances.get(request.name, "sha256:00")}
        if request.name == DECODE_MODEL:  # what concerns a backend alone may differ between models
            texts["FORCE_CPU_ONLY_INPUT_TENSORS"] = "no"
        parameters = {key: model_config_pb2.ModelParameter(string_value=text) for key, text in texts.items()}
        config = model_config_pb2.ModelConfig(max_batch_size=self.max_batch, parameters=parameters)
        return pb.ModelConfigResponse(config=config)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.ModelMetadataResponse(name=request.name, versions=["1"])

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        await super().ModelInfer(request, context)
        if request.inputs[0].name == DESCRIBE.name:
            return await self._describe(request, context)
        faces = request.inputs[0].shape[0]
        points = np.tile(np.array(self.metadata.golden_points, np.float32), (faces, 1, 1))
        points[-1, 0, 0] += self.moved.get(faces, 0.0)
        scores, variances = np.full((faces, 98), self.score), np.full((faces, 98, 2, 2), self.variance)
        arrays = (points, scores.astype(np.float32), variances.astype(np.float32))
        answer = pb.ModelInferResponse(model_name=request.model_name)
        for spec, values in zip(contract(self.metadata.codec).outputs, arrays, strict=True):
            answer.outputs.add(name=spec.name, datatype=spec.dtype, shape=values.shape)
            answer.raw_output_contents.append(values.tobytes())
        return answer

    async def _describe(self, request: Any, context: Any) -> Any:
        if not self.states_metadata:
            message = "unexpected inference input 'describe' for model 'decode'"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
        answer = pb.ModelInferResponse(model_name=request.model_name)
        answer.outputs.add(name=METADATA.name, datatype="BYTES", shape=(1, 1))
        text = self.metadata.to_json().encode()
        answer.raw_output_contents.append(len(text).to_bytes(4, "little") + text)
        return answer


async def until(condition: Callable[[], object]) -> None:
    """Returns once it holds."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.005)
