"""300-W images in the 98-point layout, listed in a file of JSON lines as `train.pose_synthesis` writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from landmarks.layout import WFLW98
from train.datasets.boxes import iou
from train.datasets.face import AnnotatedFace, Format, Split
from train.datasets.reading import lines
from train.errors import DataError

YAW_STEP: Final = 15
"""Degrees."""
LEAST_OVERLAP: Final = 0.3
"""Least IoU of a face's box with the tight box of its points."""


def load(root: Path, split: Split) -> list[AnnotatedFace]:
    """`annotations.jsonl` beside `images/`; splits "train" and "val". A face without a detector's box is left out.

    Raises DataError for a split without faces and for a missing or malformed file.
    """
    path = root / "annotations.jsonl"
    faces = [face for number, line in lines(path) for face in _line(root, path, number, line, split)]
    if not faces:
        raise DataError(f"{path}: no faces of split {split!r}; the splits are 'train' and 'val'")
    return faces


def _line(root: Path, path: Path, number: int, line: str, split: Split) -> Iterator[AnnotatedFace]:
    try:
        row: dict[str, Any] = json.loads(line)
        if row["split"] != split:
            return
        boxes = np.array([box["xyxy"] for box in row["boxes"]], np.float64).reshape(-1, 4)
        for item in row["faces"]:
            points = np.array(item["points98"], np.float64).reshape(WFLW98.points, 2)
            box = best_match(points, boxes)
            if box is not None:
                yield AnnotatedFace(root / "images" / row["image"], points, box, _subsets(item))
    except (ValueError, KeyError, TypeError) as error:
        form = "an object with image, split, faces[].points98 (98 x, y pairs) and boxes[].xyxy"
        raise DataError(f"{path}, line {number}: expected {form}; {error!r}") from error


def _subsets(item: dict[str, Any]) -> frozenset[str]:
    """Of a face with a synthesized pose, the degrees of its yaw to either side, in steps of YAW_STEP."""
    if "yaw" not in item:
        return frozenset()
    low = int(abs(item["yaw"]) // YAW_STEP * YAW_STEP)
    return frozenset({f"yaw {low:02d}-{low + YAW_STEP}"})


def best_match(points: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The box with the largest overlap (IoU, at least LEAST_OVERLAP) with the points' tight box; None without one."""
    tight = np.concatenate([points.min(axis=0), points.max(axis=0)])
    overlaps = iou(boxes, tight[None])[:, 0]
    return boxes[overlaps.argmax()] if len(boxes) and overlaps.max() >= LEAST_OVERLAP else None


FORMAT: Final = Format(load, WFLW98, train="train", test="val")
