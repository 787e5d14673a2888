"""The configuration of a detector's training: one validated value, read from TOML. Unknown keys are errors."""

from __future__ import annotations

from pydantic import Field

from train.config import Photometric, Recipe, Strict


class Compose(Strict):
    """How training pictures are put together; probabilities are those of a picture unless something else is said."""

    tiles: dict[int, float] = Field(
        {1: 0.5, 2: 0.22, 3: 0.12, 4: 0.1, 6: 0.04, 8: 0.02},
        description="photographs along a side of the mosaic, and how often",
    )
    background: float = Field(0.12, ge=0, le=1, description="of a tile: a part of a photograph wherever it falls")
    backdrop: float = Field(0.6, ge=0, le=1, description="of a large tile: what its photograph leaves is not black")
    sizes: tuple[float, float] = Field((9.0, 330.0), description="smallest and largest face aimed at, in pixels")
    flip: float = Field(0.5, ge=0, le=1, description="of a tile")
    rotation: float = Field(20.0, ge=0, description="standard deviation in degrees, of a tile")
    any_rotation: float = Field(0.05, ge=0, le=1, description="of a tile: rotated by any angle")
    paste: float = Field(0.3, ge=0, le=1, description="some faces of other photographs are put in")
    max_pasted: int = Field(8, ge=1, description="how many at most")
    occlusion: float = Field(0.1, ge=0, le=1, description="of a face: a part of it is hidden")


class DetectorConfig(Recipe):
    """Everything a run depends on besides the data. The rate falls to zero by a cosine."""

    name: str = "detector"
    batch_size: int = Field(16, ge=1, description="pictures per step")
    warmup_epochs: float = Field(1.0, ge=0)
    gradient_clip: float = Field(10.0, gt=0, description="largest gradient norm")
    ema: float = Field(0.998, ge=0, lt=1, description="decay of the averaged weights, which are the run's result")
    input_size: int = Field(256, ge=64, multiple_of=32, description="side of the training pictures in pixels")
    epochs: int = Field(70, ge=1, description="an epoch shows every photograph once, others beside it")
    sides_weight: float = Field(1.0, gt=0, description="of the loss of widths and heights")
    trusted_score: float = Field(0.7, ge=0, le=1, description="boxes of lower scores are neither faces nor background")
    held_out: int = Field(10, ge=2, description="every n-th training photograph is kept for choosing the threshold")
    false_boxes: float = Field(0.05, gt=0, description="false boxes per held-out photograph that the threshold allows")
    compose: Compose = Compose()
    photometric: Photometric = Photometric()
