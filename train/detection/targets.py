"""Faces -> the targets of the detector's maps, and the loss of maps against them.

The center of a face is rounded to a cell at random, as points are (Yu and Tao, eq. 14 and 15).
"""

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
from train.detection.mosaic import Mosaic

IGNORED_RANGE = 1.2
"""A face that is too small or too large for a level by up to this factor is neither face nor background on its map."""

POSITIVE, WEIGHT, SIDES = 0, 1, slice(2, 4)
"""Rows of the targets: 1 in a cell that holds a face's center; 1 in a cell that counts; the face's width and height."""


def targets(mosaic: Mosaic, spec: DetectorSpec, rng: np.random.Generator) -> NDArray[np.float32]:
    """[4, cells] the rows above; the cells are those of all levels in turn, each level in row-major order."""
    side = len(mosaic.image)
    return np.concatenate([_level(mosaic, level, side // level.stride, rng) for level in spec.levels], axis=1)


def _level(mosaic: Mosaic, level: Level, cells: int, rng: np.random.Generator) -> NDArray[np.float32]:
    out = np.zeros((4, cells, cells), np.float32)
    out[WEIGHT] = 1.0
    sizes = size_of(mosaic.boxes)
    fits = (level.smallest <= sizes) & (sizes <= level.largest)
    nearly = (level.smallest / IGNORED_RANGE <= sizes) & (sizes <= level.largest * IGNORED_RANGE)
    for box in mosaic.boxes[nearly & ~(fits & mosaic.trusted)]:
        out[WEIGHT][center_cells(box, level.stride, cells)] = 0.0
    faces = mosaic.boxes[fits & mosaic.trusted]
    centers = to_cells((faces[:, :2] + faces[:, 2:]) / 2, level.stride)
    columns, rows = quantize(centers, "random", rng).clip(0, cells - 1).T
    out[POSITIVE, rows, columns] = out[WEIGHT, rows, columns] = 1.0
    out[SIDES, rows, columns] = from_sides(faces[:, 2:] - faces[:, :2], level.stride).T
    return out.reshape(4, cells * cells)


def center_cells(box: NDArray[np.float64], stride: int, cells: int) -> tuple[slice, slice]:
    """Rows and columns of the cells within the middle half of a box [4], rounded outwards: where the center of a face
    with about that box might be rounded to.
    """
    middle, quarter = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 4
    first = np.floor(to_cells(middle - quarter, stride)).clip(0, cells).astype(int)
    last = np.ceil(to_cells(middle + quarter, stride)).clip(0, cells - 1).astype(int)
    return slice(first[1], last[1] + 1), slice(first[0], last[0] + 1)


class Losses(NamedTuple):
    centers: Tensor
    """Cross-entropy summed over the cells that count, divided by the number of faces."""
    sides: Tensor
    """Mean absolute error of the logarithms of width and height."""


def losses(maps: tuple[Tensor, ...], expected: Tensor) -> Losses:
    """Maps [N, 3, H/s, W/s] of all strides against targets [N, 4, cells]: per face of a level, mean of the levels.

    Plain cross-entropy rather than a focal loss: at its minimum the probability of a cell is the share of the draws
    that were rounded to it. Only then do the probabilities sum to that of a face and have its center as their mean.
    Every level counts the same, or else the many small faces of a mosaic would outweigh the large ones.
    """
    parts = torch.split(expected, [level[0, 0].numel() for level in maps], dim=2)
    each = [_level_losses(level.flatten(2).float(), part) for level, part in zip(maps, parts, strict=True)]
    centers, sides = zip(*each, strict=True)
    return Losses(torch.stack(centers).mean(), torch.stack(sides).mean())


def _level_losses(values: Tensor, expected: Tensor) -> tuple[Tensor, Tensor]:
    positive = expected[:, POSITIVE]
    faces = positive.sum().clamp(min=1)
    entropy = F.binary_cross_entropy_with_logits(values[:, 0], positive, expected[:, WEIGHT], reduction="sum")
    difference = (values[:, 1:] - expected[:, SIDES]).abs().mean(dim=1)
    return entropy / faces, (difference * positive).sum() / faces
