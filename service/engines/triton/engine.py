"""The engine port implemented by Triton, one server or several, which serve the ensemble of `model_repo/`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput

from landmarks.codec import Decoded
from landmarks.detector import DetectorMetadata
from landmarks.golden import golden_crop
from landmarks.metadata import MetadataError, ModelMetadata
from landmarks.repository import MODEL_KINDS, PROVENANCE_KEY, string_parameters
from landmarks.tensors import (
    DECODE_MODEL,
    DECODER_PARAMETER,
    DESCRIBE,
    ENSEMBLE_MODEL,
    HEATMAP_MODEL,
    METADATA,
    TOPK_PARAMETER,
    Contract,
    TensorSpec,
    contract,
)
from service.answer import ServedModel
from service.deadline import Deadline
from service.engines.call_queue import MAX_WAITING, CallQueue
from service.engines.checks import check_golden, check_request, check_result, concatenate, one_by_one
from service.engines.port import EngineFailure
from service.engines.triton.endpoint import VERIFY_TIMEOUT, Endpoint
from service.engines.triton.pool import EndpointPool, Reason
from service.engines.triton.resolver import DnsResolver, Resolver
from service.engines.triton.tls import TritonTls

M = TypeVar("M", ModelMetadata, DetectorMetadata)

DEFAULT_CALLS: Final = 2
"""Calls in flight to a model of one Triton: while it computes the one, the next is there already. What would wait
there waits in this process instead, where it can be gathered, reordered and dropped."""


@dataclass(frozen=True)
class _Served:
    model: ServedModel
    max_batch: int


class _CropKey(NamedTuple):
    """What crops of one call have in common."""

    served: _Served
    decoder: str | None
    topk: int | None


class _TensorKey(NamedTuple):
    """The same of a call with one tensor."""

    model: str
    spec: TensorSpec


class TritonEngine:
    """Tritons reached by gRPC. A request goes to the least busy of them, and to another one when that fails."""

    def __init__(
        self,
        url: str | Resolver,
        on_retry: Callable[[Reason], None] = lambda _: None,
        on_budget_spent: Callable[[], None] = lambda: None,
        tls: TritonTls | None = None,
        calls: int = DEFAULT_CALLS,
    ) -> None:
        """`url`: "host:port", several separated by commas; or a resolver. `calls`: in flight to a model of each
        Triton. The others: see EndpointPool.

        Raises ValueError for text that is not host:port.
        """
        resolver = DnsResolver(url) if isinstance(url, str) else url
        self._pool = EndpointPool(resolver, self._verify, on_retry, on_budget_spent, tls=tls)
        self._calls = calls
        self._further_checks: list[Callable[[Endpoint[Any]], Awaitable[None]]] = []
        self._crops = CallQueue(
            "landmarks", self._infer_batch, max_batch=lambda key: key.served.max_batch, **self._bounds()
        )
        self._images = CallQueue("detector", self._infer_tensor, max_batch=lambda _: 1, **self._bounds())

    @property
    def model(self) -> ServedModel:
        return self._pool.identity.model

    @property
    def endpoints(self) -> int:
        """The number of Tritons that requests are sent to now."""
        return len(self._pool.healthy())

    async def start(self) -> None:
        await self._pool.start()

    async def infer(
        self,
        crops: NDArray[np.uint8],
        *,
        decoder: str | None = None,
        topk: int | None = None,
        deadline: Deadline | None = None,
    ) -> Decoded:
        served = self._pool.identity
        check_request(crops, decoder, topk, served.model.metadata.codec)
        faces = await self._crops.submit(_CropKey(served, decoder, topk), list(crops), deadline)
        return concatenate(faces, _contract(served))

    async def infer_tensor(
        self, model: str, tensor: TensorSpec, values: NDArray[Any], deadline: Deadline | None
    ) -> Any:
        """Triton's answer to a request with one input tensor, batch axis included. Raises EngineError."""
        (answer,) = await self._images.submit(_TensorKey(model, tensor), [values], deadline)
        return answer

    async def _infer_batch(
        self, key: _CropKey, crops: Sequence[NDArray[np.uint8]], deadline: Deadline | None
    ) -> list[Decoded]:
        """The results of crops [H, W, 3], each of one face."""
        tensors = _contract(key.served)
        options = {DECODER_PARAMETER: key.decoder, TOPK_PARAMETER: key.topk}
        parameters = {name: value for name, value in options.items() if value is not None}
        inputs = [infer_input(tensors.crops, np.stack(crops))]
        answer = await self._pool.infer(ENSEMBLE_MODEL, inputs, parameters, deadline, key.served)
        return one_by_one(_decoded(answer, tensors, len(crops)))

    async def _infer_tensor(
        self, key: _TensorKey, tensors: Sequence[NDArray[Any]], deadline: Deadline | None
    ) -> list[Any]:
        (values,) = tensors
        return [await self._pool.infer(key.model, [infer_input(key.spec, values)], deadline=deadline)]

    async def config(self, model: str) -> dict[str, Any]:
        """A model's configuration, as Triton's JSON writes it. Raises EngineError."""
        return await self._pool.config(model)

    async def metadata(self, model: str, kind: type[M]) -> M:
        """The metadata of the model file that one of Triton's models runs. Raises EngineError."""
        return await read_metadata(self._pool.infer, model, kind)

    def verify_also(self, check: Callable[[Endpoint[Any]], Awaitable[None]]) -> None:
        """Has every endpoint checked by this function as well, from its next verification on.

        `check`: raises EngineError unless another model that the endpoint serves answers as it should.
        """
        self._further_checks.append(check)

    async def _verify(self, endpoint: Endpoint[_Served]) -> _Served:
        served = await _verify(endpoint)
        for check in self._further_checks:
            await check(endpoint)
        return served

    async def ready(self) -> bool:
        """Whether a Triton is up. They are probed in the background, so this sends no request."""
        return bool(self._pool.healthy())

    async def close(self) -> None:
        await self._pool.close()

    def _bounds(self) -> dict[str, Callable[[], int]]:
        """Of a queue: what each Triton that is up adds to it."""
        return {
            "max_calls": lambda: self._calls * max(1, self.endpoints),
            "max_waiting": lambda: MAX_WAITING * max(1, self.endpoints),
        }


def infer_input(tensor: TensorSpec, values: NDArray[Any]) -> InferInput:
    """The request's input tensor. `values`: batch axis included."""
    tensor_input = InferInput(tensor.name, list(values.shape), tensor.dtype)
    tensor_input.set_data_from_numpy(np.ascontiguousarray(values))
    return tensor_input


def _contract(served: _Served) -> Contract:
    metadata = served.model.metadata
    return contract(metadata.codec, metadata.has_visibility)


def _decoded(answer: Any, tensors: Contract, faces: int) -> Decoded:
    arrays = [answer.as_numpy(spec.name) for spec in tensors.outputs]
    if tensors.visibility is None:
        arrays.append(np.empty((faces, 0), np.float32))
    return check_result(Decoded(*arrays), tensors, faces)


async def _verify(endpoint: Endpoint[_Served]) -> _Served:
    """Reads what an endpoint serves, and checks its answer to the golden crop. Raises EngineError unless it is correct.

    An endpoint that is down has to answer a full batch of it as well: a GPU may use other kernels for that.
    """
    served = await _identify(endpoint)
    metadata, tensors = served.model.metadata, _contract(served)
    crop = golden_crop(metadata.codec.input_size)[None]
    for batch in (1,) if endpoint.is_up else (1, served.max_batch):
        inputs = [infer_input(tensors.crops, crop.repeat(batch, axis=0))]
        answer = await endpoint.check(ENSEMBLE_MODEL, inputs)
        check_golden(metadata, _decoded(answer, tensors, batch))
    return served


async def _identify(endpoint: Endpoint[_Served]) -> _Served:
    """What the endpoint serves. Raises EngineError unless all three models are for one model file."""
    where = f"Triton at {endpoint.address}"
    names = (ENSEMBLE_MODEL, HEATMAP_MODEL, DECODE_MODEL)
    configs = [await endpoint.config(name) for name in names]
    provenances = {string_parameters(config).get(PROVENANCE_KEY, "no hash") for config in configs}
    if len(provenances) != 1:
        raise EngineFailure(f"the models {', '.join(names)} of {where} were stamped for different model files")
    provenance = provenances.pop()
    known = None if endpoint.identity is None else endpoint.identity.model
    if known is not None and known.provenance == provenance:
        metadata = known.metadata
    else:
        metadata = await read_metadata(endpoint.infer, DECODE_MODEL, ModelMetadata)
    description = await endpoint.query("get_model_metadata", ENSEMBLE_MODEL)
    version = max(description.versions, key=int)
    model = ServedModel(metadata.name, version, provenance, metadata)
    return _Served(model, max(1, configs[0].get("max_batch_size", 1)))


async def read_metadata(infer: Callable[..., Awaitable[Any]], model: str, kind: type[M]) -> M:
    """The metadata that a model states. `infer`: of an endpoint or a pool.

    Raises EngineError; where the model states no usable metadata, an EngineFailure that says what to do.
    """
    request, deadline = [infer_input(DESCRIBE, np.ones((1, 1), np.bool_))], Deadline.after(VERIFY_TIMEOUT)
    try:
        answer = await infer(model, request, deadline=deadline)
        return kind.from_json(answer.as_numpy(METADATA.name)[0, 0].decode())
    except (EngineFailure, MetadataError) as error:
        raise EngineFailure(
            f"Triton's model {model!r} states no usable metadata ({error}): if its repository is of another release, "
            f"take the model_repo/ of this one, and run {MODEL_KINDS[kind].command} again for a model of your own"
        ) from error
