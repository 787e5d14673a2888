"""What every engine checks: requests before they are sent, results before they are returned, and the golden crop."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import CodecError, CodecSpec, Decoded
from landmarks.golden import GoldenError, check_golden_answer
from landmarks.metadata import ModelMetadata
from landmarks.tensors import Contract, contract
from service.engines.port import EngineFailure


def check_request(crops: NDArray[np.uint8], decoder: str | None, topk: int | None, codec: CodecSpec) -> None:
    """Raises EngineFailure for a request that the model would refuse, before it is sent."""
    shape = contract(codec).crops.shape
    if crops.dtype != np.uint8 or crops.shape[1:] != shape:
        raise EngineFailure(f"crops must be uint8 [N, {', '.join(map(str, shape))}], not {crops.dtype} {crops.shape}")
    try:
        codec.choose_decoder(decoder, topk)
    except CodecError as error:
        raise EngineFailure(str(error)) from error


def check_result(decoded: Decoded, tensors: Contract, faces: int) -> Decoded:
    """Returns `decoded`. Raises EngineFailure unless every array is present, has its shape, and is finite.

    The visibility of a network that does not state it is not looked at.
    """
    for values, spec in zip(decoded, tensors.outputs, strict=False):
        if values is None or values.shape != (faces, *spec.shape):
            raise EngineFailure(f"the model's {spec.name} have a wrong shape: {getattr(values, 'shape', None)}")
        if not np.isfinite(values).all():
            raise EngineFailure(f"the model's {spec.name} are not finite")
    return decoded


def concatenate(parts: list[Decoded], tensors: Contract) -> Decoded:
    """The results of several batches as one; those of no batch are arrays of no faces."""
    if len(parts) == 1:
        return parts[0]
    shapes = [*(spec.shape for spec in tensors.decoded), tensors.visibility.shape if tensors.visibility else (0,)]
    empty = Decoded(*(np.empty((0, *shape), np.float32) for shape in shapes))
    return Decoded(*(np.concatenate(arrays) for arrays in zip(empty, *parts, strict=True)))


def one_by_one(decoded: Decoded) -> list[Decoded]:
    """The result of a batch as those of its faces, each with a batch axis of 1: what `concatenate` takes."""
    return [Decoded(*(values[i : i + 1] for values in decoded)) for i in range(len(decoded.points))]


def check_golden(metadata: ModelMetadata, decoded: Decoded) -> None:
    """Raises EngineFailure unless every result of a batch of golden crops is the one stated in the model's metadata."""
    try:
        check_golden_answer(metadata, decoded)
    except GoldenError as error:
        raise EngineFailure(str(error)) from error
