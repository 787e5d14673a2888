"""COFW: 29 points; images and annotations in MATLAB 7.3 files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from train.datasets.face import AnnotatedFace, Format, Split
from train.datasets.image import MatImage
from train.datasets.layouts import COFW29
from train.datasets.reading import checked, missing, unknown_split
from train.errors import DataError

POINTS: Final = 29
SPLITS: Final[Mapping[Split, tuple[str, str]]] = {
    "train": ("COFW_train_color.mat", "Tr"),
    "test": ("COFW_test_color.mat", "T"),
}
"""The file of each split, and how its variables' names end."""


def load(root: Path, split: Split) -> list[AnnotatedFace]:
    """`COFW_train_color.mat` (IsTr, phisTr, bboxesTr) and `COFW_test_color.mat` (IsT, phisT, bboxesT).

    A row of phis is 29 x, 29 y, 29 flags (1 = hidden); a row of bboxes is x, y, width, height. They count pixels
    from 1, as MATLAB does; 1 is subtracted.

    Raises DataError for an unknown split and for a missing or malformed file.
    """
    if split not in SPLITS:
        raise unknown_split(split, tuple(SPLITS))
    name, suffix = SPLITS[split]
    path = root / name
    try:
        with h5py.File(path) as file:
            # MATLAB stores columns first, so a row of the variable is a column here
            faces = _size(path, file, f"Is{suffix}", 1, None)
            _size(path, file, f"phis{suffix}", 3 * POINTS, faces)
            _size(path, file, f"bboxes{suffix}", 4, faces)
            phis = np.asarray(file[f"phis{suffix}"], np.float64).T
            boxes = np.asarray(file[f"bboxes{suffix}"], np.float64).T
    except OSError as error:
        raise missing(path, error) from error
    return [_face(path, f"Is{suffix}", row, phis[row], boxes[row]) for row in range(faces)]


def _size(path: Path, file: Any, key: str, height: int, faces: int | None) -> int:
    """The number of faces of a variable. Raises DataError unless it is [height, faces]."""
    form = f"{height} x {'faces' if faces is None else faces} (stored columns first)"
    shape = getattr(file.get(key), "shape", None)
    if shape is None:
        raise DataError(f"{path}: expected a variable {key!r}, {form}; the file has {', '.join(sorted(file))}")
    if len(shape) != 2 or shape[0] != height or faces not in (None, shape[1]):
        raise DataError(f"{path}, variable {key!r}: expected {form}, found {' x '.join(map(str, shape))}")
    return int(shape[1])


def _face(path: Path, cells: str, row: int, phi: np.ndarray[Any, Any], box: np.ndarray[Any, Any]) -> AnnotatedFace:
    x, y, _hidden = phi.reshape(3, POINTS)
    low = box[:2] - 1
    face = AnnotatedFace(
        MatImage(path, cells, row),
        np.stack([x, y], axis=1) - 1,
        np.concatenate([low, low + box[2:]]),
    )
    return checked(face, f"{path}, face {row + 1}")


FORMAT: Final = Format(load, COFW29, train="train", test="test")
