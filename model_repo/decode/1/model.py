"""Triton model `decode`: heatmap logits -> points, scores, covariances; or the model file's metadata (DESCRIBE)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from landmarks.codec import CodecError, CodecSpec, Decoded, decode
from landmarks.repository import check_stamp, model_path, precision_of, string_parameters
from landmarks.runtime import consume, identify
from landmarks.tensors import DECODER_PARAMETER, DESCRIBE, METADATA, TOPK_PARAMETER, contract


class TritonPythonModel:
    """Does not load when its configuration was stamped for another network than `heatmap` runs."""

    def initialize(self, args: dict[str, str]) -> None:
        parameters = string_parameters(json.loads(args["model_config"]))
        repository, version = Path(args["model_repository"]).parent, args["model_version"]
        self._metadata, provenance = identify(model_path(repository, version, precision=precision_of(parameters)))
        check_stamp(parameters, self._metadata, provenance)
        self._tensors = contract(self._metadata.codec)
        self._decode = decode_function(args["model_instance_kind"], args["model_instance_device_id"])

    def execute(self, requests: list[Any]) -> list[Any]:
        # each request by itself: those that Triton batched may differ in decoder and topk
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        if pb_utils.get_input_tensor_by_name(request, DESCRIBE.name) is not None:
            text = np.array([[self._metadata.to_json().encode()]], object)
            return pb_utils.InferenceResponse([pb_utils.Tensor(METADATA.name, text)])
        heatmaps = pb_utils.get_input_tensor_by_name(request, self._tensors.heatmaps.name)
        given = json.loads(request.parameters() or "{}")
        options = given.get(TOPK_PARAMETER), given.get(DECODER_PARAMETER)
        try:
            decoded = self._decode(heatmaps, self._metadata.codec, *options)
        except CodecError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG))
        # visibility does not pass through here
        tensors = zip(self._tensors.decoded, decoded, strict=False)
        return pb_utils.InferenceResponse([pb_utils.Tensor(spec.name, values) for spec, values in tensors])


def decode_function(kind: str, device_id: str) -> Callable[[Any, CodecSpec, int | None, str | None], Decoded]:
    """Decodes Triton's tensors: with NumPy in an instance of kind CPU, else with PyTorch, on the GPU it has if any."""
    if kind == "CPU":
        return lambda heatmaps, *options: consume(heatmaps, lambda values: decode(values, *options))
    # PyTorch is installed where GPUs are
    import torch
    import torch_decode
    from torch.utils.dlpack import from_dlpack

    device = torch.device("cuda", int(device_id)) if kind == "GPU" else torch.device("cpu")
    # Triton may leave heatmaps on the CPU all the same
    return lambda heatmaps, *options: torch_decode.decode(from_dlpack(heatmaps.to_dlpack()).to(device), *options)
