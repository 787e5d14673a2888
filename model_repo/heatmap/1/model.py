"""Triton model `heatmap`: RGB crops -> heatmap logits and visibility, through OpenVINO on the CPU."""

import json
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from landmarks.parallelism import Parallelism
from landmarks.repository import check_stamp, model_path, precision_of, string_parameters
from landmarks.runtime import Network, consume
from landmarks.tensors import contract


class TritonPythonModel:
    """Does not load when its configuration was stamped for another model file."""

    def initialize(self, args: dict[str, str]) -> None:
        parameters = string_parameters(json.loads(args["model_config"]))
        repository, version = Path(args["model_repository"]).parent, args["model_version"]
        path = model_path(repository, version, precision=precision_of(parameters))
        self._network = Network(path, Parallelism.from_environment())
        check_stamp(parameters, self._network.metadata, self._network.provenance)
        self._tensors = contract(self._network.metadata.codec, self._network.metadata.has_visibility)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        predicted = consume(pb_utils.get_input_tensor_by_name(request, self._tensors.crops.name), self._network)
        # without visibility there is a tensor less
        tensors = zip(self._tensors.predicted, predicted, strict=False)
        return pb_utils.InferenceResponse([pb_utils.Tensor(spec.name, values) for spec, values in tensors])
