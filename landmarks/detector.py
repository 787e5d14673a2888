"""What a face detector states of itself in its ONNX file: how its maps are read, and where it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, NamedTuple

from landmarks.metadata import MetadataError

DETECTOR_METADATA_KEY: Final = "landmarks_detector"
"""Key of the JSON text in the ONNX file's metadata."""

_FORMER_NAMES: Final[Mapping[str, str]] = {"small": "small_size", "overlap": "nms_iou"}
"""Of a specification's keys in files exported before they had their present names."""


class Level(NamedTuple):
    """A map of the detector and the faces that it finds; a face's size is the square root of its box's area."""

    stride: int
    """Pixels per cell."""
    smallest: float
    """Pixels."""
    largest: float
    """Pixels. Ranges of neighbouring levels overlap, so that a face between them is found at least once."""


@dataclass(frozen=True)
class DetectorSpec:
    """Everything that training and a reader of the detector's maps must agree on. Raises MetadataError."""

    levels: tuple[Level, ...] = (Level(8, 10.0, 48.0), Level(16, 36.0, 96.0), Level(32, 72.0, 208.0))
    threshold: float = 0.5
    """Minimum score of a face that is returned, chosen on images that the detector was not trained on."""
    small_size: float = 22.0
    """Pixels; the scores of smaller faces are reduced, see `landmarks.detection.downweight_small`."""
    nms_iou: float = 0.3
    """Non-maximum suppression: of two boxes with a larger IoU, the one with the lower score is removed."""

    def __post_init__(self) -> None:
        if not self.levels:
            raise MetadataError("a detector needs at least one level")
        if not (0 < self.threshold <= 1 and 0 <= self.nms_iou <= 1 and self.small_size > 0):
            raise MetadataError(
                f"threshold {self.threshold!r} and nms_iou {self.nms_iou!r} must lie in [0, 1], "
                f"small_size {self.small_size!r} above 0"
            )

    @property
    def multiple(self) -> int:
        """Height and width of the network's input are multiples of this many pixels."""
        return max(level.stride for level in self.levels)

    @property
    def largest(self) -> float:
        """Size in pixels of the largest face that the network finds."""
        return max(level.largest for level in self.levels)


@dataclass(frozen=True)
class DetectorMetadata:
    """Everything a server must know of a detector to feed it and to read its maps."""

    name: str
    spec: DetectorSpec
    run_id: str
    """The training run that made the weights."""
    commit: str
    """Of the code that trained them."""
    data: tuple[str, ...]
    """Names of the data sets trained on."""
    golden_box: tuple[float, float, float, float]
    """The face of `landmarks.golden.golden_crop()`, as the network finds it: xyxy in pixels."""

    def to_json(self) -> str:
        """One canonical line of JSON: equal metadata gives equal text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_mapping(cls, values: Mapping[str, str]) -> DetectorMetadata:
        """Reads the entry of a model file's string map. Raises MetadataError where there is none."""
        if DETECTOR_METADATA_KEY not in values:
            raise MetadataError(
                f"no {DETECTOR_METADATA_KEY!r} in the model: write it with landmarks-train export-detector"
            )
        return cls.from_json(values[DETECTOR_METADATA_KEY])

    @classmethod
    def from_json(cls, text: str) -> DetectorMetadata:
        """Reads `to_json`'s text. Raises MetadataError when it is anything else."""
        try:
            values: dict[str, Any] = json.loads(text)
            spec = {_FORMER_NAMES.get(key, key): value for key, value in values["spec"].items()}
            for owner, given in ((cls, values), (DetectorSpec, spec)):
                names = {item.name for item in fields(owner)}
                if set(given) != names:
                    raise MetadataError(
                        f"detector metadata needs exactly the keys {sorted(names)}, got {sorted(given)}"
                    )
            spec["levels"] = tuple(Level(*level) for level in spec["levels"])
            x1, y1, x2, y2 = (float(value) for value in values["golden_box"])
            return cls(
                values["name"],
                DetectorSpec(**spec),
                values["run_id"],
                values["commit"],
                tuple(values["data"]),
                (x1, y1, x2, y2),
            )
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise MetadataError(f"not a detector's metadata ({error}): {text[:200]}") from error
