"""What an exported model states of itself, in its ONNX file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from landmarks.codec import CodecSpec
from landmarks.layout import WFLW98, LayoutError, PointLayout
from landmarks.uncertainty import FaceScorer, Plausibility, squared_radius

METADATA_KEY: Final = "landmarks_metadata"
"""Key of the JSON text in the ONNX file's metadata."""


class MetadataError(ValueError):
    """A model's metadata is missing, malformed, or belongs to another file; the message says which."""


@dataclass(frozen=True)
class PointsCrop:
    """Where a model's crop lies about the points of a face. Both are medians over the faces that it was trained on."""

    scale: float
    """Longer side of the crop over that of the rectangle of its shape about the upright points."""
    rise: float
    """How far the crop's center lies above the center of that box, in longer sides of the crop."""


@dataclass(frozen=True)
class ModelMetadata:
    """Everything a server must know of a model to feed it and to read its answer."""

    name: str
    """Backbone, as answers report it: "compact", "hrnet_w18"."""
    codec: CodecSpec
    crop_scale: float
    """Side of the crop over that of the rectangle of its shape about the face box, as in training."""
    run_id: str
    """The training run that made the weights."""
    data: tuple[str, ...]
    """Names of the data sets trained on."""
    normalisation: str = "inside the network: RGB bytes in"
    layout: PointLayout = WFLW98
    """The points that it answers with; stated in full, so that a server needs to know no layout beforehand."""
    golden_points: tuple[tuple[float, float], ...] = field(default=(), repr=False)
    """Points of `landmarks.golden.golden_crop(codec.input_size)` in crop pixels."""
    golden_scores: tuple[float, ...] = field(default=(), repr=False)
    """The scores of those points; none in models exported before metadata had them."""
    golden_covariances: tuple[tuple[float, float, float], ...] = field(default=(), repr=False)
    """Their covariances, xx, xy, yy in crop pixels squared; as many as scores."""
    golden_visibility: tuple[float, ...] = field(default=(), repr=False)
    """The visibility of those points; none in models that do not state it."""
    degrees_of_freedom: Mapping[str, float] = field(default_factory=dict, repr=False)
    """Of the Student t distribution of the errors, by group of the layout: see `landmarks.uncertainty`. A group without
    an entry has Gaussian errors."""

    points_crop: PointsCrop | None = None
    """Where the crop of a second pass lies about the points of the first; None in models without one."""
    plausibility: Plausibility | None = field(default=None, repr=False)
    """Tells answers for squeezed faces from others; None in models that do not state it."""

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and isinstance(self.run_id, str)):
            raise MetadataError(f"name and run_id must be strings, not {self.name!r} and {self.run_id!r}")
        if not 0 < self.crop_scale < math.inf:
            raise MetadataError(f"crop_scale must be positive, not {self.crop_scale!r}")
        if not len(self.golden_scores) == len(self.golden_covariances) in (0, self.codec.points):
            raise MetadataError(f"golden scores and covariances must be {self.codec.points} each, or none")
        if len(self.golden_visibility) not in (0, self.codec.points):
            raise MetadataError(f"golden visibility must be {self.codec.points} numbers, or none")
        if self.plausibility and len(self.plausibility.weights) != 3 * self.codec.points:
            raise MetadataError(f"plausibility must have {3 * self.codec.points} weights")
        if self.layout.points != self.codec.points:
            raise MetadataError(
                f"the codec has {self.codec.points} points, but layout {self.layout.name!r} has {self.layout.points}"
            )

    @property
    def has_visibility(self) -> bool:
        """Whether the model states the visibility of its points."""
        return bool(self.golden_visibility)

    @property
    def scorer(self) -> FaceScorer:
        """How the reliability of its faces is scored."""
        return FaceScorer(self.layout, self.plausibility)

    def to_json(self) -> str:
        """One canonical line of JSON: equal metadata gives equal text."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values |= {"codec": json.loads(self.codec.to_json()), "layout": self.layout.to_mapping()}
        values["points_crop"] = self.points_crop and asdict(self.points_crop)
        values["plausibility"] = self.plausibility and asdict(self.plausibility)
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelMetadata:
        """Reads `to_json`'s text. Raises MetadataError when it is anything else."""
        try:
            values: dict[str, Any] = json.loads(text)
            names = {item.name for item in fields(cls)}
            # models exported before metadata had these have none
            values = {
                "degrees_of_freedom": {},
                "golden_scores": [],
                "golden_covariances": [],
                "golden_visibility": [],
                "points_crop": None,
                "plausibility": None,
            } | values
            if set(values) != names:
                raise MetadataError(f"model metadata needs exactly the keys {sorted(names)}, got {sorted(values)}")
            values["layout"] = _layout(values["layout"])
            values["codec"] = CodecSpec.from_json(json.dumps(values["codec"]))
            values["data"] = tuple(values["data"])
            values["golden_points"] = tuple((float(x), float(y)) for x, y in values["golden_points"])
            values["golden_scores"] = tuple(map(float, values["golden_scores"]))
            values["golden_covariances"] = tuple(
                (float(xx), float(xy), float(yy)) for xx, xy, yy in values["golden_covariances"]
            )
            values["golden_visibility"] = tuple(map(float, values["golden_visibility"]))
            if values["points_crop"] is not None:
                values["points_crop"] = PointsCrop(**values["points_crop"])
            if values["plausibility"] is not None:
                weights, bias = values["plausibility"]["weights"], values["plausibility"]["bias"]
                values["plausibility"] = Plausibility(tuple(map(float, weights)), float(bias))
            for freedom in values["degrees_of_freedom"].values():
                squared_radius(0.5, freedom)
            return cls(**values)
        except (MetadataError, LayoutError) as error:
            raise MetadataError(str(error)) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise MetadataError(f"not a model's metadata ({error}): {text[:200]}") from error

    @classmethod
    def from_mapping(cls, values: Mapping[str, str]) -> ModelMetadata:
        """Reads the entry METADATA_KEY of a model file's string map. Raises MetadataError where there is none."""
        if METADATA_KEY not in values:
            raise MetadataError(f"no {METADATA_KEY!r} in the model: export it with landmarks-train export")
        return cls.from_json(values[METADATA_KEY])


def _layout(value: Any) -> PointLayout:
    """A layout's JSON values; models exported before metadata held them state the name of theirs, which is wflw98."""
    if isinstance(value, str):
        if value != WFLW98.name:
            raise MetadataError(f"the model names its layout, {value!r}, but does not describe it: export it again")
        return WFLW98
    return PointLayout.from_mapping(value)
