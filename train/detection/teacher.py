"""Boxes of faces that nobody annotated, as a YuNet detector finds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from train.datasets.boxes import Boxes, iou
from train.datasets.image import RgbImage, read_image
from train.datasets.reading import lines
from train.datasets.source import DataSource
from train.detection.images import check_format, write_annotations
from train.errors import DataError

MIN_SCORE: Final = 0.5
"""Of the teacher's boxes that are added. Those below `trusted_score` are then neither faces nor background."""
KNOWN_IOU: Final = 0.2
"""A teacher's box that overlaps one of the set by more is of the same face."""
MARGIN: Final = 40
"""Pixels of black around an image: YuNet finds few faces that its edge cuts."""
CERTAIN: Final = 0.9
"""Least score of a box that holds an annotated face."""


class Teacher:
    """YuNet through OpenCV. Raises DataError when its file cannot be loaded."""

    def __init__(self, path: Path) -> None:
        try:
            self._network: Any = cv2.FaceDetectorYN.create(str(path), "", (320, 320), MIN_SCORE)
        except cv2.error as error:
            raise DataError(f"{path} is no ONNX file of YuNet: {error}") from error

    def __call__(self, image: RgbImage) -> tuple[Boxes, NDArray[np.float64]]:
        """Boxes [N, 4] and scores [N] of an image [H, W, 3]."""
        framed = cv2.copyMakeBorder(image, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_CONSTANT)
        self._network.setInputSize((framed.shape[1], framed.shape[0]))
        _, rows = self._network.detect(cv2.cvtColor(framed, cv2.COLOR_RGB2BGR))
        found = np.zeros((0, 15)) if rows is None else np.asarray(rows, np.float64)
        found = found[np.isfinite(found).all(axis=1) & (found[:, 2:4] > 0).all(axis=1)]
        corner = found[:, :2] - MARGIN
        return np.concatenate([corner, corner + found[:, 2:4]], axis=1), found[:, 14]


def complete_boxes(source: DataSource, yunet: Path, out: Path) -> int:
    """Writes the data set with the teacher's boxes into `out`; returns how many were added.

    Only the training split is completed. Raises DataError for another format or a file that cannot be read.
    """
    check_format(source)
    teacher = Teacher(yunet)
    rows, added = [], 0
    for number, line in tqdm(list(lines(source.root / "annotations.jsonl")), unit="image", leave=False):
        try:
            row = json.loads(line)
            if row["split"] == source.format.train:
                added += _complete(row, *teacher(read_image(source.root / "images" / row["image"])))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{source.root}, line {number}: expected an annotated image; {error!r}") from error
        rows.append(row)
    write_annotations(source, rows, out)
    return added


def _complete(row: dict[str, Any], boxes: Boxes, scores: NDArray[np.float64]) -> int:
    """Changes a line of the annotations in place; returns how many boxes it has more."""
    known = np.array([box["xyxy"] for box in row["boxes"]], np.float64).reshape(-1, 4)
    faces = [np.nanmean(np.array(face["points98"], np.float64), axis=0) for face in row["faces"]]
    for box in row["boxes"]:
        x1, y1, x2, y2 = box["xyxy"]
        if any(x1 < x < x2 and y1 < y < y2 for x, y in faces):
            box["score"] = max(box["score"], CERTAIN)
    new = (iou(boxes, known) <= KNOWN_IOU).all(axis=1)
    for box, score in zip(boxes[new].round(1).tolist(), scores[new].round(3).tolist(), strict=True):
        row["boxes"].append({"xyxy": box, "score": score})
    return int(new.sum())
