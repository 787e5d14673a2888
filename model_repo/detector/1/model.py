"""Triton model `detector`: an RGB image -> the boxes of its faces, through OpenVINO and `landmarks.detection`.

It also answers what detector it is: see `landmarks.tensors.DESCRIBE`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from landmarks.detection import find_faces
from landmarks.repository import MODEL_FILE, check_stamp, string_parameters
from landmarks.runtime import DetectorNetwork, consume
from landmarks.search import HINT_SCORE
from landmarks.tensors import BOX_SCORES, BOXES, DESCRIBE, IMAGE, METADATA


class TritonPythonModel:
    """Does not load when its configuration was stamped for another model file."""

    def initialize(self, args: dict[str, str]) -> None:
        self._network = DetectorNetwork(Path(args["model_repository"]) / args["model_version"] / MODEL_FILE)
        parameters = string_parameters(json.loads(args["model_config"]))
        check_stamp(parameters, self._network.metadata, self._network.provenance)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        if pb_utils.get_input_tensor_by_name(request, DESCRIBE.name) is not None:
            text = np.array([[self._network.metadata.to_json().encode()]], object)
            return pb_utils.InferenceResponse([pb_utils.Tensor(METADATA.name, text)])
        found = consume(
            pb_utils.get_input_tensor_by_name(request, IMAGE.name),
            lambda images: find_faces(images[0], self._network, self._network.metadata.spec, HINT_SCORE),
        )
        tensors = zip((BOXES, BOX_SCORES), found, strict=True)
        return pb_utils.InferenceResponse([pb_utils.Tensor(spec.name, values[None]) for spec, values in tensors])
