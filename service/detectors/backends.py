"""Where the model repository's face detector runs: in Triton, as its model `detector`, or in this process.

Both run `landmarks.detection.find_faces` on the same file, and their results are equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from landmarks.detection import Detections, find_faces
from landmarks.detector import DetectorMetadata
from landmarks.golden import GOLDEN_TOLERANCE, golden_crop
from landmarks.metadata import MetadataError
from landmarks.repository import PROVENANCE_KEY, string_parameters
from landmarks.runtime import DetectorNetwork, NetworkError
from landmarks.search import HINT_SCORE
from landmarks.tensors import BOX_SCORES, BOXES, DETECTOR_MODEL, IMAGE
from service.deadline import Deadline
from service.engines.local import LocalEngine
from service.engines.port import EngineFailure, EngineUnavailable
from service.engines.triton.endpoint import Endpoint
from service.engines.triton.engine import TritonEngine, infer_input, read_metadata
from service.images.pixels import Pixels

_REMEDY: Final = "export one with landmarks-train export-detector, or set LANDMARKS_YUNET_PATH"


class ServedDetector(NamedTuple):
    """The detector network that a backend runs."""

    metadata: DetectorMetadata
    provenance: str
    """`sha256:<hex>` of the model file."""


class DetectorBackend(Protocol):
    """Runs the detector network."""

    async def identify(self) -> ServedDetector:
        """The network that is served; loads it where that has not happened yet. Raises EngineError."""

    async def detect(self, image: Pixels, deadline: Deadline | None) -> Detections:
        """The faces of an image and hints (`landmarks.search.HINT_SCORE`), best first. Raises EngineError."""


class TritonDetectorBackend:
    """Sends images to the Tritons that an engine is connected to."""

    def __init__(self, triton: TritonEngine) -> None:
        """Once the detector is known, the engine uses only Tritons whose detector answers the golden crop as well."""
        self._triton = triton
        self._served: ServedDetector | None = None
        self._metadata: dict[str, DetectorMetadata] = {}
        """Of each model file that a Triton was found to serve."""

    async def identify(self) -> ServedDetector:
        try:
            config = await self._triton.config(DETECTOR_MODEL)
        except EngineFailure as error:
            raise EngineFailure(f"Triton serves no face detector ({error}): {_REMEDY}") from error
        is_first = self._served is None
        self._served = await self._described(config, self._triton.metadata)
        if is_first:
            self._triton.verify_also(self._verify)
        return self._served

    async def _described(
        self, config: dict[str, Any], read: Callable[[str, type[DetectorMetadata]], Awaitable[DetectorMetadata]]
    ) -> ServedDetector:
        """What a configuration is for. `read`: asks Triton for the metadata of a file that is not known yet, which
        waits behind the requests for detections.
        """
        provenance = string_parameters(config).get(PROVENANCE_KEY, "no hash")
        if provenance not in self._metadata:
            self._metadata[provenance] = await read(DETECTOR_MODEL, DetectorMetadata)
        return ServedDetector(self._metadata[provenance], provenance)

    async def _verify(self, endpoint: Endpoint[Any]) -> None:
        """Raises EngineError unless the detector of one Triton finds the golden crop's face."""
        served = await self._described(
            await endpoint.config(DETECTOR_MODEL), lambda model, kind: read_metadata(endpoint.infer, model, kind)
        )
        answer = await endpoint.check(DETECTOR_MODEL, [infer_input(IMAGE, golden_crop()[None])])
        check_golden_face(served.metadata, _detections(answer))

    async def detect(self, image: Pixels, deadline: Deadline | None) -> Detections:
        return _detections(await self._triton.infer_tensor(DETECTOR_MODEL, IMAGE, image[None], deadline))


class LocalDetectorBackend:
    """Runs the network in the thread of the in-process engine, so that the two do not compete for the cores."""

    def __init__(self, engine: LocalEngine, path: Path) -> None:
        """`path`: the ONNX file."""
        self._engine = engine
        self._path = path
        self._network: DetectorNetwork | None = None

    async def identify(self) -> ServedDetector:
        network = await self._loaded()
        return ServedDetector(network.metadata, network.provenance)

    async def detect(self, image: Pixels, deadline: Deadline | None) -> Detections:
        network = await self._loaded()
        try:
            spec = network.metadata.spec
            found = await self._engine.run(lambda: find_faces(image, network, spec, HINT_SCORE), deadline)
        except RuntimeError as error:
            raise EngineFailure(f"OpenVINO failed: {error}") from error
        return _checked(found)

    async def _loaded(self) -> DetectorNetwork:
        if self._network is None:
            try:
                self._network = await self._engine.run(lambda: DetectorNetwork(self._path), None)
            except ImportError as error:
                raise EngineUnavailable("OpenVINO is not installed: pip install h3r-landmarks[serve]") from error
            except (NetworkError, MetadataError) as error:
                raise EngineFailure(f"no face detector ({error}): {_REMEDY}") from error
        return self._network


def check_golden_face(metadata: DetectorMetadata, found: Detections) -> None:
    """Raises EngineFailure unless the golden crop's face is found where the network found it when it was exported."""
    error = np.abs(found.boxes[0] - metadata.golden_box).max() if len(found.boxes) else np.inf
    if not error <= GOLDEN_TOLERANCE:
        raise EngineFailure(
            f"the golden crop's face is found {error:.3f} pixels off: wrong weights, or a wrong runtime"
        )


def _detections(answer: Any) -> Detections:
    """Triton's answer. Raises EngineFailure unless it has the form of detections."""
    boxes, scores = answer.as_numpy(BOXES.name), answer.as_numpy(BOX_SCORES.name)
    if boxes is None or scores is None or boxes.shape != (1, scores.size, 4):
        raise EngineFailure("the detector's boxes have a wrong shape")
    return _checked(Detections(boxes[0], scores[0]))


def _checked(found: Detections) -> Detections:
    """Raises EngineFailure unless all boxes and scores are finite."""
    if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
        raise EngineFailure("the detector's boxes are not finite")
    return found
