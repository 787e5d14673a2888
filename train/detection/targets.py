"""Faces -> what the detector's maps should hold, and the loss of what they do hold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from landmarks.codec import quantize
from landmarks.detection import from_sides, to_cells
from landmarks.detector import DetectorSpec, Level
from train.datasets.boxes import size_of
from train.detection.scenes import Scene

FRINGE = 1.2
"""Faces up to so many times too small or too large for a level are neither face nor background on its map."""

POSITIVE, WEIGHT, SIDES = 0, 1, slice(2, 4)
"""Rows of the targets: whether a cell holds a centre, whether it counts, the face's width and height."""


def targets(scene: Scene, spec: DetectorSpec, rng: np.random.Generator) -> NDArray[np.float32]:
    """[4, cells] the rows above, the levels' cells in a row, each level in row-major order."""
    side = len(scene.image)
    return np.concatenate([_level(scene, level, side // level.stride, rng) for level in spec.levels], axis=1)


def _level(scene: Scene, level: Level, cells: int, rng: np.random.Generator) -> NDArray[np.float32]:
    out = np.zeros((4, cells, cells), np.float32)
    out[WEIGHT] = 1.0
    sizes = size_of(scene.boxes)
    fits = (level.smallest <= sizes) & (sizes <= level.largest)
    nearly = (level.smallest / FRINGE <= sizes) & (sizes <= level.largest * FRINGE)
    for box in scene.boxes[nearly & ~(fits & scene.trusted)]:
        out[WEIGHT][core(box, level.stride, cells)] = 0.0
    found = scene.boxes[fits & scene.trusted]
    centres = to_cells((found[:, :2] + found[:, 2:]) / 2, level.stride)
    columns, rows = quantize(centres, "random", rng).clip(0, cells - 1).T
    out[POSITIVE, rows, columns] = out[WEIGHT, rows, columns] = 1.0
    out[SIDES, rows, columns] = from_sides(found[:, 2:] - found[:, :2], level.stride).T
    return out.reshape(4, cells * cells)


def core(box: NDArray[np.float64], stride: int, cells: int) -> tuple[slice, slice]:
    """The cells, rows and columns, that the centre of a face in that box might be rounded to, generously."""
    middle, quarter = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 4
    first = np.floor(to_cells(middle - quarter, stride)).clip(0, cells).astype(int)
    last = np.ceil(to_cells(middle + quarter, stride)).clip(0, cells - 1).astype(int)
    return slice(first[1], last[1] + 1), slice(first[0], last[0] + 1)


class Losses(NamedTuple):
    centres: Tensor
    """Cross-entropy of every cell that counts, over the number of faces."""
    sides: Tensor
    """Absolute error of the logarithms of width and height."""


def losses(maps: tuple[Tensor, ...], wanted: Tensor) -> Losses:
    """Maps [N, 3, H/s, W/s] against targets [N, 4, cells]: sums over the faces of a level, averaged over the levels.

    Plain cross-entropy, not a focal one: at its minimum a cell's probability is the share of the draws that fell on
    it, and only then do probabilities sum to that of a face and have its centre as their mean. Each level counts
    alike, or the many small faces of a mosaic would drown the large.
    """
    parts = torch.split(wanted, [level[0, 0].numel() for level in maps], dim=2)
    each = [_level_losses(level.flatten(2).float(), part) for level, part in zip(maps, parts, strict=True)]
    centres, sides = zip(*each, strict=True)
    return Losses(torch.stack(centres).mean(), torch.stack(sides).mean())


def _level_losses(values: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    positive = wanted[:, POSITIVE]
    faces = positive.sum().clamp(min=1)
    entropy = F.binary_cross_entropy_with_logits(values[:, 0], positive, wanted[:, WEIGHT], reduction="sum")
    difference = (values[:, 1:] - wanted[:, SIDES]).abs().mean(dim=1)
    return entropy / faces, (difference * positive).sum() / faces
