"""Asking the model repository's face detector: Triton's model `detector`, or the same network in this process.

Both run `landmarks.detection.find_faces` on the same file, and answer alike to the last bit.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from landmarks.detection import Detections, DetectorMetadata, find_faces
from landmarks.metadata import PROVENANCE_KEY, MetadataError
from landmarks.repository import string_parameters
from landmarks.runtime import DetectorNetwork, NetworkError
from landmarks.tensors import BOX_SCORES, BOXES, DETECTOR_MODEL, PICTURE
from service.deadline import Deadline
from service.engines.local import LocalEngine
from service.engines.port import EngineFailure, EngineUnavailable
from service.engines.triton.engine import TritonEngine

REMEDY = "export one with landmarks-train export-detector, or set LANDMARKS_YUNET_PATH"


class ServedDetector(NamedTuple):
    """Which detector answers."""

    metadata: DetectorMetadata
    provenance: str
    """`sha256:<hex>` of the model file."""


class Finder(Protocol):
    """What the detector needs of an inference server."""

    async def identify(self) -> ServedDetector:
        """Loads the network, or asks which one is served. Raises EngineError."""

    async def find(self, picture: NDArray[np.uint8], deadline: Deadline | None) -> Detections:
        """The faces of an RGB picture [H, W, 3], by `deadline`, best first. Raises EngineError."""


class TritonFinder:
    """Asks the Triton that an engine is connected to."""

    def __init__(self, triton: TritonEngine) -> None:
        self._triton = triton

    async def identify(self) -> ServedDetector:
        try:
            stamp = string_parameters(await self._triton.config(DETECTOR_MODEL))
            metadata = DetectorMetadata.from_mapping(stamp)
        except (EngineFailure, MetadataError) as error:
            raise EngineFailure(f"Triton serves no face detector ({error}): {REMEDY}") from error
        return ServedDetector(metadata, stamp.get(PROVENANCE_KEY, "unknown"))

    async def find(self, picture: NDArray[np.uint8], deadline: Deadline | None) -> Detections:
        answer = await self._triton.infer_tensor(DETECTOR_MODEL, PICTURE, picture[None], deadline)
        boxes, scores = answer.as_numpy(BOXES.name), answer.as_numpy(BOX_SCORES.name)
        if boxes is None or scores is None or boxes.shape != (1, scores.size, 4):
            raise EngineFailure("the detector's boxes have a wrong shape")
        return _checked(Detections(boxes[0], scores[0]))


class LocalFinder:
    """Runs the network in the thread of the in-process engine, so that the two do not fight for the cores."""

    def __init__(self, engine: LocalEngine, path: Path) -> None:
        """`path`: the ONNX file."""
        self._engine = engine
        self._path = path
        self._network: DetectorNetwork | None = None

    async def identify(self) -> ServedDetector:
        network = await self._loaded()
        return ServedDetector(network.metadata, network.provenance)

    async def find(self, picture: NDArray[np.uint8], deadline: Deadline | None) -> Detections:
        network = await self._loaded()
        try:
            return _checked(
                await self._engine.run(lambda: find_faces(picture, network, network.metadata.spec), deadline)
            )
        except RuntimeError as error:
            raise EngineFailure(f"OpenVINO failed: {error}") from error

    async def _loaded(self) -> DetectorNetwork:
        if self._network is None:
            try:
                self._network = await self._engine.run(lambda: DetectorNetwork(self._path), None)
            except ImportError as error:
                raise EngineUnavailable("OpenVINO is not installed: pip install h3r-landmarks[serve]") from error
            except (NetworkError, MetadataError) as error:
                raise EngineFailure(f"no face detector ({error}): {REMEDY}") from error
        return self._network


def _checked(found: Detections) -> Detections:
    """Raises EngineFailure for boxes that are not finite."""
    if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
        raise EngineFailure("the detector's boxes are not finite")
    return found
