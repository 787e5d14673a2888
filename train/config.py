"""The training configuration: one validated value, read from TOML. Unknown keys are errors."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from landmarks.codec import CodecSpec, PixelRule, Quantizer
from landmarks.layout import WFLW98
from landmarks.size import Size
from train.datasets.face import BoxKind
from train.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


FORMER_KEYS: Final[Mapping[str, str]] = {
    "further": "extra_data_fraction",
    "shape": "shape_refinement",
    "fall": "large_rotation",
    "occlude": "occlusion",
    "colour": "color_jitter",
    "cast": "color_cast",
    "grey": "grayscale",
    "dark": "darkness",
    "coarse": "downsample",
    "coarsest": "max_downsample",
    "upside": "any_rotation",
    "most_pasted": "max_pasted",
}
"""Keys that were renamed. Runs and checkpoints written before hold their configuration under the former names."""


class Strict(BaseModel):
    """A configuration or a part of one: fixed once read, and of known keys alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _read_former_keys(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        renamed = {old: new for old, new in FORMER_KEYS.items() if new in cls.model_fields and new not in values}
        return {renamed.get(key, key): value for key, value in values.items()}


def _crop_size(value: Any) -> Size:
    size = value if isinstance(value, Size) else Size.parse(value)
    if any(side < 32 or side % 32 for side in size):
        raise ValueError("must be a positive multiple of 32, or two of them as in '256x192', height x width")
    return size


CropSize = Annotated[Size, BeforeValidator(_crop_size), PlainSerializer(lambda size: size.plain, when_used="json")]


class Stage(Strict):
    """A stretch of epochs at one crop size. Early epochs on small crops cost a fraction of full ones."""

    epochs: int = Field(ge=1)
    input_size: CropSize = Field(description="side of the square crop in pixels; or height x width, '256x192'")


class Photometric(Strict):
    """Changes of color and sharpness. Probabilities are those per image; strengths are in `train.samples.augment`."""

    color_jitter: float = Field(
        0.4, ge=0, lt=1, description="largest relative change of brightness, contrast, saturation"
    )
    color_cast: float = Field(0.2, ge=0, le=1, description="probability of a color cast")
    grayscale: float = Field(0.12, ge=0, le=1, description="probability of losing all color")
    darkness: float = Field(0.15, ge=0, le=1, description="probability of losing three fifths or more of the light")
    blur: float = Field(0.25, ge=0, le=1, description="probability of a blur, of focus or of motion")
    downsample: float = Field(0.15, ge=0, le=1, description="probability of a lower resolution")
    max_downsample: float = Field(4.0, ge=1.5, description="largest factor between the resolutions; the least is 1.5")
    noise: float = Field(0.2, ge=0, le=1, description="probability of noise")
    jpeg: float = Field(0.3, ge=0, le=1, description="probability of JPEG compression")


class Augment(Strict):
    """Random changes of each training sample. The defaults are this project's; `configs/h3r.toml` has those of the
    paper's section 5.3.
    """

    flip: float = Field(0.5, ge=0, le=1, description="probability of a mirrored crop")
    rotation: float = Field(30.0, ge=0, description="largest rotation in degrees")
    large_rotation: float = Field(0.0, ge=0, le=1, description="probability of a rotation of up to 90 degrees instead")
    scale: float = Field(0.25, ge=0, lt=1, description="largest relative change of the crop's sides")
    shift: float = Field(16.0, ge=0, description="largest shift in pixels of a crop whose longer side is 256")
    brightness: float = Field(0.4, ge=0, lt=1, description="largest relative change")
    contrast: float = Field(0.4, ge=0, lt=1, description="largest relative change")
    saturation: float = Field(0.4, ge=0, lt=1, description="largest relative change")
    erasing: float = Field(0.5, ge=0, le=1, description="probability that a rectangle is erased")
    occlusion: float = Field(0.0, ge=0, le=1, description="probability that another part of the crop covers an ellipse")
    squeeze: float = Field(0.0, ge=0, le=1, description="probability that one direction shrinks to half at most")
    frame: float = Field(0.0, ge=0, le=1, description="probability that an edge of the picture cuts into the face")
    photometric: Photometric | None = Field(
        None, description="made instead of the changes of brightness, contrast and saturation"
    )


class Recipe(Strict):
    """How any network is trained, whatever its samples are."""

    name: str = Field(description="as the exported model reports it")
    seed: int = 0
    batch_size: int = Field(32, ge=1, description="samples per step, of all processes together")
    learning_rate: float = Field(2e-3, gt=0, description="peak, after a linear warm-up")
    weight_decay: float = Field(0.05, ge=0)
    warmup_epochs: float = Field(2.0, ge=0)
    gradient_clip: float = Field(5.0, ge=0, description="largest gradient norm; 0: no limit")
    ema: float = Field(
        0.0, ge=0, lt=1, description="decay of the averaged weights, which then are the run's result; 0: no averaging"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 where it is fast")


Share = Annotated[float, Field(gt=0, le=1)]


class Config(Recipe):
    """Everything a run depends on besides the data."""

    name: str = Field("compact", description="the backbone")
    shape_refinement: bool = Field(
        False, description="a last layer corrects each point from the positions of the others (`fit-shape` adds it)"
    )
    visibility: bool = Field(
        False, description="a layer states which points are seen; `fit-visibility` adds it to a finished run"
    )
    stages: tuple[Stage, ...] = Field(min_length=1)
    milestones: tuple[int, ...] = Field(
        (), description="epochs after each of which the rate falls to a tenth; none: it falls to zero by a cosine"
    )
    crop_scale: float = Field(
        1.25, gt=0, description="side of the crop over that of the rectangle of its shape about the face box"
    )
    extra_data_fraction: Share | tuple[Share, ...] = Field(
        1.0,
        description="share of the data sets beyond the first that an epoch shows: of all, or a list with one for each",
    )
    held_out: int = Field(0, ge=0, description="about every n-th image is kept out of training, to calibrate on")
    samples: int | None = Field(
        None,
        ge=1,
        description="train on so many faces of the first data set alone (Table 7 of the paper); none: on all",
    )
    boxes: BoxKind = Field("P2", description="P1: crops about the tight box of the points; P2: about a detector's box")
    flip_averaging: bool = Field(
        False, description="the run's own evaluation averages every crop with its mirror image, at twice the cost"
    )
    objective: Literal["cells", "cell_sigmoid", "gaussian"] = Field(
        "cells",
        description="cells: cross-entropy over the map's cells (the only one that is served); see train.objectives",
    )
    quantizer: Quantizer | Literal["none"] = Field("random", description="none: for the gaussian objective alone")
    sigma: float = Field(1.0, ge=0, description="of the gaussian objective, in cells; 0: a single active cell")
    pixel_rule: PixelRule = "center"
    stride: Literal[4] = Field(4, description="crop pixels per heatmap cell of every backbone")
    topk: int = Field(9, ge=1)
    augment: Augment = Augment()

    @field_validator("objective", mode="before")
    @classmethod
    def _read_former_objective(cls, value: Any) -> Any:
        return "cell_sigmoid" if value == "binary" else value  # its name in earlier versions

    @model_validator(mode="after")
    def _one_cell_needs_rounding(self) -> Config:
        if self.quantizer == "none" and (self.objective != "gaussian" or not self.sigma):
            raise ValueError(f"the objective {self.objective!r} marks one cell: it needs a quantizer")
        return self

    def with_epochs(self, epochs: int) -> Config:
        """The same schedule in fewer or more epochs: stages and milestones keep their share of the whole.

        Raises ConfigError where a stage would be left without an epoch.
        """
        if epochs < len(self.stages):
            raise ConfigError(
                f"--epochs {epochs}: the configuration has {len(self.stages)} stages of at least one epoch"
            )
        ends = [
            self._scaled(sum(stage.epochs for stage in self.stages[:i]), epochs) for i in range(len(self.stages) + 1)
        ]
        spans = [max(1, end - start) for start, end in pairwise(ends)]
        if sum(spans) != epochs:
            raise ConfigError(f"--epochs {epochs}: too few for the stages of the configuration; choose more")
        stages = [
            Stage(epochs=span, input_size=stage.input_size) for span, stage in zip(spans, self.stages, strict=True)
        ]
        milestones = tuple(self._scaled(milestone, epochs) for milestone in self.milestones)
        return self.model_copy(update={"stages": tuple(stages), "milestones": milestones})

    def _scaled(self, epoch: int, epochs: int) -> int:
        """Where an epoch of the schedule lies in one of so many epochs."""
        return round(epoch * epochs / self.epochs)

    def extra_fractions(self, sets: int) -> tuple[float, ...]:
        """The share of each of the data sets beyond the first. Raises ConfigError unless the list has as many."""
        shares = self.extra_data_fraction
        if isinstance(shares, float):
            return (shares,) * sets
        if len(shares) != sets:
            raise ConfigError(f"extra_data_fraction lists {len(shares)} shares, for {sets} data sets after the first")
        return shares

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    def stage_at(self, epoch: int) -> Stage:
        """The stage of an epoch, counted from 0; the last stage beyond the end."""
        for stage in self.stages:
            if epoch < stage.epochs:
                return stage
            epoch -= stage.epochs
        return self.stages[-1]

    def codec(self, input_size: Size, points: int = WFLW98.points) -> CodecSpec:
        """The codec at one crop size."""
        return CodecSpec(
            points=points, input_size=input_size, stride=self.stride, pixel_rule=self.pixel_rule, topk=self.topk
        )


ConfigT = TypeVar("ConfigT", bound=Strict)


def shipped_configs() -> dict[str, Path]:
    """The configurations that come with the package, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "configs").glob("*.toml"))}


def load_config(kind: type[ConfigT], source: str, overrides: dict[str, Any] | None = None) -> ConfigT:
    """Reads a TOML file, or a configuration shipped with the package by its bare name ("compact", "detector").

    `overrides` replace top-level keys. Raises ConfigError when the file is missing or a key is unknown or unusable.
    """
    shipped = shipped_configs()
    try:
        text = shipped.get(source, Path(source)).read_text("utf-8")
        values = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        names = ", ".join(shipped)
        raise ConfigError(f"cannot read the configuration {source!r} ({error}); shipped ones: {names}") from error
    return validated(kind, {**values, **(overrides or {})}, source)


def validated(kind: type[ConfigT], values: Any, source: str) -> ConfigT:
    """The configuration of those values, which come from `source`. Raises ConfigError when a key is unusable."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'config'}: {_words(each)}" for each in error.errors())
        raise ConfigError(f"configuration {source!r}: {reasons}") from error


def _words(problem: ErrorDetails) -> str:
    """What is wrong with a key, in words that follow its name."""
    if problem["type"] == "extra_forbidden":
        return "there is no such key; train/config.py describes all"
    if problem["type"] == "missing":
        return "must be given"
    return problem["msg"].removeprefix("Value error, ").replace("Input should", "must")
