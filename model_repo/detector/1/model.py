"""Triton model `detector`: an RGB picture -> the boxes of its faces, through OpenVINO and `landmarks.detection`."""

import json
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from landmarks.detection import find_faces
from landmarks.repository import MODEL_FILE, check_stamp, string_parameters
from landmarks.runtime import DetectorNetwork
from landmarks.tensors import BOX_SCORES, BOXES, PICTURE


class TritonPythonModel:
    """Refuses to load when config.pbtxt was stamped for another model file."""

    def initialize(self, args: dict[str, str]) -> None:
        self._network = DetectorNetwork(Path(args["model_repository"]) / args["model_version"] / MODEL_FILE)
        parameters = string_parameters(json.loads(args["model_config"]))
        check_stamp(parameters, self._network.metadata, self._network.provenance)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        (picture,) = pb_utils.get_input_tensor_by_name(request, PICTURE.name).as_numpy()
        found = find_faces(picture, self._network, self._network.metadata.spec)
        tensors = zip((BOXES, BOX_SCORES), found, strict=True)
        return pb_utils.InferenceResponse([pb_utils.Tensor(spec.name, values[None]) for spec, values in tensors])
