"""Triton model `decode`: heatmap logits -> points, scores and covariances, by `landmarks.codec`."""

import json
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from landmarks.codec import CodecError, decode
from landmarks.repository import check_stamp, model_path, string_parameters
from landmarks.runtime import identify
from landmarks.tensors import TOPK_PARAMETER, contract


class TritonPythonModel:
    """Refuses to load when config.pbtxt was stamped for another network than `heatmap` runs."""

    def initialize(self, args: dict[str, str]) -> None:
        metadata, provenance = identify(model_path(Path(args["model_repository"]).parent, args["model_version"]))
        check_stamp(string_parameters(json.loads(args["model_config"])), metadata, provenance)
        self._codec = metadata.codec
        self._tensors = contract(metadata.codec)

    def execute(self, requests: list[Any]) -> list[Any]:
        # each request by itself: those that Triton batched may differ in their topk
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        heatmaps = pb_utils.get_input_tensor_by_name(request, self._tensors.heatmaps.name).as_numpy()
        try:
            decoded = decode(heatmaps, self._codec, requested_topk(request))
        except CodecError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG))
        tensors = zip(self._tensors.outputs, decoded, strict=True)
        return pb_utils.InferenceResponse([pb_utils.Tensor(spec.name, values) for spec, values in tensors])


def requested_topk(request: Any) -> int | None:
    """The request's own topk, if it has one. Raises CodecError unless that is a whole number."""
    topk = json.loads(request.parameters() or "{}").get(TOPK_PARAMETER)
    if topk is not None and type(topk) is not int:
        raise CodecError(f"{TOPK_PARAMETER} must be a whole number, not {topk!r}")
    return topk
