"""The project's own format: 98 points and detected boxes, in a file of JSON lines with a line for each image.

The 300-W images in the 98-point layout, the output of `train.pose_synthesis` and users' own images are in it.
"""

from __future__ import annotations

import json
import logging
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

logger = logging.getLogger(__name__)

YAW_STEP: Final = 15
"""Degrees."""
LEAST_OVERLAP: Final = 0.3
"""Least IoU of a face's box with the tight box of its points."""


def load(root: Path, split: Split) -> list[AnnotatedFace]:
    """`annotations.jsonl` beside `images/`; splits "train" and "val".

    Faces without a box are left out, and a warning states their number.

    Raises DataError for a split without faces and for a missing or malformed file.
    """
    path = root / "annotations.jsonl"
    every = [face for number, line in lines(path) for face in _line(root, path, number, line, split)]
    faces = [face for face in every if face is not None]
    if len(faces) < len(every):
        logger.warning(
            "%s: %d of %d faces of split %r left out: no box overlaps their points",
            path,
            len(every) - len(faces),
            len(every),
            split,
        )
    if not faces:
        raise DataError(f"{path}: no faces of split {split!r}; the splits are 'train' and 'val'")
    return faces


def _line(root: Path, path: Path, number: int, line: str, split: Split) -> Iterator[AnnotatedFace | None]:
    """The faces of a line that belongs to the split; None for one without a box."""
    try:
        row: dict[str, Any] = json.loads(line)
        if row["split"] != split:
            return
        boxes = np.array([box["xyxy"] for box in row["boxes"]], np.float64).reshape(-1, 4)
        for item in row["faces"]:
            points = np.array(item["points98"], np.float64).reshape(WFLW98.points, 2)
            box = best_match(points, boxes)
            image, visible = root / "images" / row["image"], _visible(item)
            if box is None:
                yield None
            else:
                yield AnnotatedFace(image, points, box, _subsets(row, item), _weights(item), visible)
    except (ValueError, KeyError, TypeError) as error:
        form = "an object with image, split, faces[].points98 (98 x, y pairs) and boxes[].xyxy"
        raise DataError(f"{path}, line {number}: expected {form}; {error!r}") from error


def _subsets(row: dict[str, Any], item: dict[str, Any]) -> frozenset[str]:
    """The image's source, and of a face with a synthesized pose the degrees of its yaw to either side, in YAW_STEPs."""
    names = {str(row["source"])} if "source" in row else set()
    if "yaw" in item:
        low = int(abs(item["yaw"]) // YAW_STEP * YAW_STEP)
        names.add(f"yaw {low:02d}-{low + YAW_STEP}")
    return frozenset(names)


def _weights(item: dict[str, Any]) -> NDArray[np.float64] | None:
    """How much each point counts, where the file states it. Raises ValueError outside 0 to 1."""
    if "weights" not in item:
        return None
    weights = np.array(item["weights"], np.float64).reshape(WFLW98.points)
    if not ((weights >= 0) & (weights <= 1)).all():
        raise ValueError("weights are numbers from 0 to 1")
    return weights


def _visible(item: dict[str, Any]) -> NDArray[np.bool_] | None:
    """Whether each point is seen, where the file states it. Raises ValueError for other values than 0 and 1."""
    if "visible98" not in item:
        return None
    visible = np.array(item["visible98"]).reshape(WFLW98.points)
    if not np.isin(visible, (0, 1)).all():
        raise ValueError("visible98 has a 1 for each point that is seen and a 0 for each that is hidden")
    return visible.astype(np.bool_)


def best_match(points: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The box with the largest overlap (IoU, at least LEAST_OVERLAP) with the tight box of the annotated points [P, 2].

    None without such a box, and where no point is annotated (NaN).
    """
    annotated = points[~np.isnan(points).any(axis=1)]
    if not len(boxes) or not len(annotated):
        return None
    tight = np.concatenate([annotated.min(axis=0), annotated.max(axis=0)])
    overlaps = iou(boxes, tight[None])[:, 0]
    return boxes[overlaps.argmax()] if overlaps.max() >= LEAST_OVERLAP else None


FORMAT: Final = Format(load, WFLW98, train="train", test="val")
