"""Photographs with a box for every face: what a detector is trained and judged on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from train.datasets.face import Split
from train.datasets.reading import lines
from train.datasets.source import DataSource
from train.errors import DataError

FORMAT: Final = "faces300w"
"""The one data set that has a box for every face of a photograph, annotated or not."""


@dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph and the faces that a detector found in it."""

    path: Path
    boxes: NDArray[np.float64]
    """[N, 4] xyxy in the photograph's pixels; may reach beyond it."""
    scores: NDArray[np.float64]
    """[N] the detector's, in [0, 1]"""


def load(source: DataSource, split: Split) -> list[Photograph]:
    """The photographs of split "train" or "val". Raises DataError for another data set or a malformed file."""
    if source.name != FORMAT:
        raise DataError(f"a detector needs a box for every face, which {source.name} lacks; give {FORMAT}:PATH")
    path = source.root / "annotations.jsonl"
    rows = (_row(source.root, path, number, line, split) for number, line in lines(path))
    photographs = [row for row in rows if row is not None]
    if not photographs:
        raise DataError(f"{path}: no photographs of split {split!r}; the splits are 'train' and 'val'")
    return photographs


def _row(root: Path, path: Path, number: int, line: str, split: Split) -> Photograph | None:
    try:
        row: dict[str, Any] = json.loads(line)
        if row["split"] != split:
            return None
        boxes = np.array([box["xyxy"] for box in row["boxes"]], np.float64).reshape(-1, 4)
        scores = np.array([box["score"] for box in row["boxes"]], np.float64)
        image = root / "images" / row["image"]
    except (ValueError, KeyError, TypeError) as error:
        wanted = "an object with image, split and boxes[] of xyxy and score"
        raise DataError(f"{path}, line {number}: expected {wanted}; {error!r}") from error
    if not np.isfinite(boxes).all() or not (boxes[:, :2] < boxes[:, 2:]).all():
        raise DataError(f"{path}, line {number}: expected boxes with x1 < x2 and y1 < y2")
    return Photograph(image, boxes, scores)


def split_by_place(photographs: Sequence[Photograph], every: int) -> tuple[list[Photograph], list[Photograph]]:
    """The photographs to train on, and every n-th of the list, kept for choosing the threshold.

    `train.evaluation.calibration.split_by_name` would choose others; the shipped detector comes from these.
    """
    kept = [photo for i, photo in enumerate(photographs) if i % every == 0]
    return [photo for i, photo in enumerate(photographs) if i % every], kept


def fingerprint(photographs: Sequence[Photograph]) -> str:
    """`sha256:<hex>` over every photograph's name, boxes and scores, in order."""
    digest = hashlib.sha256()
    for photo in photographs:
        digest.update(photo.path.name.encode() + photo.boxes.tobytes() + photo.scores.tobytes())
    return f"sha256:{digest.hexdigest()}"
