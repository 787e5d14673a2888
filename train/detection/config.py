"""The configuration of a detector's training: one validated value, read from TOML. Unknown keys are errors."""

from __future__ import annotations

from pydantic import Field

from train.config import Photometric, Recipe, Strict


class Compose(Strict):
    """How mosaics are composed. Probabilities are per mosaic, unless they say "of a tile" or "of a face"."""

    tiles: dict[int, float] = Field(
        {1: 0.5, 2: 0.22, 3: 0.12, 4: 0.1, 6: 0.04, 8: 0.02},
        description="tiles along a side of the mosaic, and their relative frequency",
    )
    faceless: float = Field(
        0.12, ge=0, le=1, description="of a tile: shows an image without faces, where there are such images"
    )
    lookalike: float = Field(
        0.5, ge=0, le=1, description="of a tile without faces: shows a place that a detector took for one"
    )
    background: float = Field(0.12, ge=0, le=1, description="of a tile: shows a random part of its image")
    backdrop: float = Field(0.6, ge=0, le=1, description="of a large tile: what its image leaves black is filled")
    sizes: tuple[float, float] = Field((9.0, 340.0), description="smallest and largest face aimed at, in pixels")
    flip: float = Field(0.5, ge=0, le=1, description="of a tile: mirrored")
    rotation: float = Field(20.0, ge=0, description="standard deviation in degrees, of a tile")
    any_rotation: float = Field(0.05, ge=0, le=1, description="of a tile: rotated by any angle")
    paste: float = Field(0.3, ge=0, le=1, description="faces of other images are pasted in")
    max_pasted: int = Field(8, ge=1, description="how many at most")
    occlusion: float = Field(0.1, ge=0, le=1, description="of a face: a part of it is covered")


class DetectorConfig(Recipe):
    """Everything a run depends on besides the data. The learning rate decays to zero by a cosine."""

    name: str = "detector"
    batch_size: int = Field(16, ge=1, description="mosaics per step")
    warmup_epochs: float = Field(1.0, ge=0)
    gradient_clip: float = Field(10.0, gt=0, description="largest gradient norm")
    ema: float = Field(0.998, ge=0, lt=1, description="decay of the averaged weights, which are the run's result")
    input_size: int = Field(256, ge=64, multiple_of=32, description="side of the mosaics in pixels")
    epochs: int = Field(70, ge=1, description="an epoch shows each image of the first data set in a mosaic")
    extra_data_fraction: float = Field(
        0.35, gt=0, le=1, description="share of the data sets beyond the first that an epoch shows, drawn anew"
    )
    sides_weight: float = Field(1.0, gt=0, description="of the loss of widths and heights")
    trusted_score: float = Field(0.7, ge=0, le=1, description="boxes of lower scores are neither faces nor background")
    held_out: int = Field(10, ge=2, description="every n-th training image is held out to choose the threshold on")
    false_boxes: float = Field(0.05, gt=0, description="false boxes per held-out image that the threshold allows")
    compose: Compose = Compose()
    photometric: Photometric = Photometric()
