"""Annotated faces from the data sets' own files: `FORMAT:PATH` names a data set and where it lies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from landmarks.layout import NUM_POINTS
from train.errors import DataError

Split = str
"""A data set's own name of a part: "train", "val", "test" or a subset."""


@dataclass(frozen=True, eq=False)
class Face:
    """One annotated face of a photograph, in the pixels of the photograph ((0, 0) = centre of the first pixel)."""

    image: Path
    points: NDArray[np.float64]
    """[98, 2]"""
    box: NDArray[np.float64]
    """[4] xyxy, a detector's box (P2)."""
    subsets: frozenset[str] = field(default_factory=frozenset)
    """Parts of the test set that the face belongs to ("pose", "occlusion")."""

    @property
    def tight_box(self) -> NDArray[np.float64]:
        """[4] xyxy, the tight box of the points (P1)."""
        return np.concatenate([self.points.min(axis=0), self.points.max(axis=0)])


# ---------------------------------------------------------------- 300-W photographs in the 98-point layout


def load_faces300w(root: Path, split: Split) -> list[Face]:
    """`annotations.jsonl` beside `images/`; splits "train" and "val". A face nobody's detector found is left out."""
    path = root / "annotations.jsonl"
    faces = [face for number, line in _lines(path) for face in _faces300w_line(root, path, number, line, split)]
    if not faces:
        raise DataError(f"{path}: no faces of split {split!r}; the splits are 'train' and 'val'")
    return faces


def _faces300w_line(root: Path, path: Path, number: int, line: str, split: Split) -> Iterator[Face]:
    try:
        row: dict[str, Any] = json.loads(line)
        if row["split"] != split:
            return
        boxes = np.array([box["xyxy"] for box in row["boxes"]], np.float64).reshape(-1, 4)
        for item in row["faces"]:
            points = np.array(item["points98"], np.float64).reshape(NUM_POINTS, 2)
            box = _best_match(points, boxes)
            if box is not None:
                yield Face(root / "images" / row["image"], points, box)
    except (ValueError, KeyError, TypeError) as error:
        wanted = "an object with image, split, faces[].points98 (98 x, y pairs) and boxes[].xyxy"
        raise DataError(f"{path}, line {number}: expected {wanted}; {error!r}") from error


def _best_match(points: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The box with the largest overlap (IoU, at least 0.3) with the points' tight box."""
    tight = np.concatenate([points.min(axis=0), points.max(axis=0)])
    overlap = (np.minimum(boxes[:, 2:], tight[2:]) - np.maximum(boxes[:, :2], tight[:2])).clip(0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    iou = overlap / (areas + (tight[2:] - tight[:2]).prod() - overlap)
    return boxes[iou.argmax()] if len(boxes) and iou.max() >= 0.3 else None


# ---------------------------------------------------------------- WFLW

WFLW_SUBSETS: Final = ("pose", "expression", "illumination", "makeup", "occlusion", "blur")
_WFLW_FIELDS: Final = 2 * NUM_POINTS + 4 + len(WFLW_SUBSETS) + 1


def load_wflw(root: Path, split: Split) -> list[Face]:
    """The official lists under `WFLW_annotations/`, photographs under `WFLW_images/`; splits "train" and "test"."""
    path = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test" / f"list_98pt_rect_attr_{split}.txt"
    return [_wflw_line(root, path, number, line) for number, line in _lines(path)]


def _wflw_line(root: Path, path: Path, number: int, line: str) -> Face:
    """196 coordinates, the box x1 y1 x2 y2, six 0/1 attributes, the photograph's name."""
    parts = line.split()
    if len(parts) != _WFLW_FIELDS:
        raise DataError(f"{path}, line {number}: expected {_WFLW_FIELDS} fields, found {len(parts)}")
    try:
        numbers = np.array(parts[: 2 * NUM_POINTS + 4], np.float64)
        flags = [int(flag) for flag in parts[-7:-1]]
    except ValueError as error:
        raise DataError(f"{path}, line {number}: expected 200 numbers and six 0/1 attributes; {error}") from error
    subsets = frozenset(name for name, flag in zip(WFLW_SUBSETS, flags, strict=True) if flag)
    points, box = numbers[:-4].reshape(NUM_POINTS, 2), numbers[-4:]
    return Face(root / "WFLW_images" / parts[-1], points, box, subsets)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank. Raises DataError when the file is not there."""
    try:
        with path.open(encoding="utf-8") as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); see docs/training.md for the layout") from error


# ---------------------------------------------------------------- by name


@dataclass(frozen=True)
class Format:
    """A data set's loader and its own names for the two splits that training uses."""

    load: Callable[[Path, Split], list[Face]]
    train: Split
    test: Split


FORMATS: Final[Mapping[str, Format]] = {
    "faces300w": Format(load_faces300w, "train", "val"),
    "wflw": Format(load_wflw, "train", "test"),
}


@dataclass(frozen=True)
class DataSource:
    """`FORMAT:PATH`, as the command line takes it."""

    name: str
    root: Path

    @classmethod
    def parse(cls, text: str) -> DataSource:
        """Raises DataError for an unknown format."""
        name, separator, path = text.partition(":")
        if not separator or name not in FORMATS:
            raise DataError(f"--data takes FORMAT:PATH with FORMAT one of {', '.join(FORMATS)}, not {text!r}")
        return cls(name, Path(path))

    def train_faces(self) -> list[Face]:
        """The faces to train on."""
        return FORMATS[self.name].load(self.root, FORMATS[self.name].train)

    def test_faces(self) -> list[Face]:
        """The faces to report on, never trained on."""
        return FORMATS[self.name].load(self.root, FORMATS[self.name].test)
