"""WFLW: 98 points, one line of text per face."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from landmarks.layout import WFLW98
from train.datasets.face import AnnotatedFace, Format, Split
from train.datasets.reading import lines, unknown_split
from train.errors import DataError

SPLITS: Final = ("train", "test")
SUBSETS: Final = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")
_FIELDS: Final = 2 * WFLW98.points + 4 + len(SUBSETS) + 1


def load(root: Path, split: Split) -> list[AnnotatedFace]:
    """The official lists under `WFLW_annotations/`, images under `WFLW_images/`; splits "train" and "test".

    A face belongs to those of the six subsets whose attribute is 1. Coordinates are taken as they are.

    Raises DataError for an unknown split and for a missing or malformed file.
    """
    if split not in SPLITS:
        raise unknown_split(split, SPLITS)
    path = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test" / f"list_98pt_rect_attr_{split}.txt"
    return [_line(root, path, number, line) for number, line in lines(path)]


def _line(root: Path, path: Path, number: int, line: str) -> AnnotatedFace:
    """196 coordinates, the box x1 y1 x2 y2, six 0/1 attributes, the image's name."""
    parts = line.split()
    if len(parts) != _FIELDS:
        raise DataError(f"{path}, line {number}: expected {_FIELDS} fields, found {len(parts)}")
    try:
        numbers = np.array(parts[: 2 * WFLW98.points + 4], np.float64)
        flags = [int(flag) for flag in parts[-7:-1]]
    except ValueError as error:
        raise DataError(f"{path}, line {number}: expected 200 numbers and six 0/1 attributes; {error}") from error
    subsets = frozenset(name for name, flag in zip(SUBSETS, flags, strict=True) if flag)
    points, box = numbers[:-4].reshape(WFLW98.points, 2), numbers[-4:]
    return AnnotatedFace(root / "WFLW_images" / parts[-1], points, box, subsets)


FORMAT: Final = Format(load, WFLW98, train="train", test="test")
