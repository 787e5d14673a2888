"""Triton model `decode`: heatmap logits -> points, scores, covariances, by `landmarks.codec` or its twin for GPUs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from landmarks.codec import CodecError, CodecSpec, Decoded, decode
from landmarks.repository import check_stamp, model_path, precision_of, string_parameters
from landmarks.runtime import identify
from landmarks.tensors import DECODER_PARAMETER, TOPK_PARAMETER, contract


class TritonPythonModel:
    """Refuses to load when its configuration was stamped for another network than `heatmap` runs."""

    def initialize(self, args: dict[str, str]) -> None:
        parameters = string_parameters(json.loads(args["model_config"]))
        repository, version = Path(args["model_repository"]).parent, args["model_version"]
        metadata, provenance = identify(model_path(repository, version, precision=precision_of(parameters)))
        check_stamp(parameters, metadata, provenance)
        self._codec = metadata.codec
        self._tensors = contract(metadata.codec)
        self._decode = decode_function(args["model_instance_kind"], args["model_instance_device_id"])

    def execute(self, requests: list[Any]) -> list[Any]:
        # each request by itself: those that Triton batched may differ in decoder and topk
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        heatmaps = pb_utils.get_input_tensor_by_name(request, self._tensors.heatmaps.name)
        try:
            decoded = self._decode(heatmaps, self._codec, *requested(request))
        except CodecError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG))
        tensors = zip(self._tensors.outputs, decoded, strict=True)
        return pb_utils.InferenceResponse([pb_utils.Tensor(spec.name, values) for spec, values in tensors])


def decode_function(kind: str, device_id: str) -> Callable[[Any, CodecSpec, int | None, str | None], Decoded]:
    """Decodes Triton's tensors: with NumPy in an instance of kind CPU, else with PyTorch, on the GPU it has if any."""
    if kind == "CPU":
        return lambda heatmaps, *options: decode(heatmaps.as_numpy(), *options)
    import torch
    import torch_decode
    from torch.utils.dlpack import from_dlpack

    device = torch.device("cuda", int(device_id)) if kind == "GPU" else torch.device("cpu")
    # Triton may leave heatmaps on the CPU all the same
    return lambda heatmaps, *options: torch_decode.decode(from_dlpack(heatmaps.to_dlpack()).to(device), *options)


def requested(request: Any) -> tuple[int | None, str | None]:
    """The request's own topk and decoder, None where it has none."""
    parameters = json.loads(request.parameters() or "{}")
    return parameters.get(TOPK_PARAMETER), parameters.get(DECODER_PARAMETER)
