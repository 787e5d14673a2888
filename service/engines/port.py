"""The engine port: RGB crops in, decoded landmarks out.

Implementations: `service.engines.triton.engine` and `service.engines.local`. Both run the same network and the same
decode, and answer alike to the last bit.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import CodecError, CodecSpec, Decoded
from landmarks.golden import GOLDEN_TOLERANCE
from landmarks.metadata import ModelMetadata
from landmarks.tensors import Contract, contract
from service.answer import ServedModel
from service.deadline import Deadline


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


class Engine(Protocol):
    """What the pipeline needs of an inference server."""

    @property
    def model(self) -> ServedModel:
        """The served model; known after `start`."""

    async def start(self) -> None:
        """Connects or loads; may be tried again after an error. Raises EngineError."""

    async def infer(
        self,
        crops: NDArray[np.uint8],
        *,
        decoder: str | None = None,
        topk: int | None = None,
        deadline: Deadline | None = None,
    ) -> Decoded:
        """RGB crops [N, S, S, 3] -> points, scores and covariances in crop pixels.

        `decoder`, `topk`: as `CodecSpec.choose_decoder` has them. `deadline`: the caller's; None waits
        without end. Raises EngineError.
        """

    async def ready(self) -> bool:
        """Whether requests can be served now, the golden crop having been answered rightly; never raises."""

    async def close(self) -> None:
        """Lets go of everything; harmless when called twice."""


def check_request(crops: NDArray[np.uint8], decoder: str | None, topk: int | None, codec: CodecSpec) -> None:
    """Raises EngineFailure for a request that the model would refuse, before it is sent."""
    shape = contract(codec).crops.shape
    if crops.dtype != np.uint8 or crops.shape[1:] != shape:
        raise EngineFailure(f"crops must be uint8 [N, {', '.join(map(str, shape))}], not {crops.dtype} {crops.shape}")
    try:
        codec.choose_decoder(decoder, topk)
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
