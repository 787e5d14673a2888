"""Writes a data set in the format of faces300w with its points converted to WFLW's convention."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from landmarks.layout import WFLW98
from train.datasets.conversion import PointConversion, given68
from train.datasets.reading import lines
from train.datasets.teacher import match
from train.errors import DataError

Array = NDArray[np.float64]


class Converted(NamedTuple):
    """What was written."""

    before: Array
    """[faces, 98, 2] the points as they were"""
    after: Array
    """[faces, 98, 2] the points as they were written"""
    averaged: int
    """Faces whose points are averages with the teacher's."""
    left_out: int
    """Images that were left out."""


def convert_points(
    root: Path, conversion: PointConversion, teacher: Mapping[str, Array], leave_out: Collection[str], out: Path
) -> Converted:
    """Writes `out`/annotations.jsonl and a link from `out`/images to the images of the data set in `root`.

    Training faces become the average of their converted points and of those that the `teacher` found, where it found
    them; faces to test on are their own converted points alone, so that errors are measured against what people
    annotated. `leave_out`: stems of training images, such as copies of images to test on. Raises DataError when the
    data set cannot be read, when `out` exists, and for a name in `leave_out` that no training image has.
    """
    if out.exists():
        raise DataError(f"{out} exists: choose another --out")
    before, after, rows, averaged, unseen = [], [], [], 0, set(leave_out)
    path = root / "annotations.jsonl"
    for number, line in lines(path):
        try:
            row: dict[str, Any] = json.loads(line)
            training = row["split"] == "train"
            if training and Path(row["image"]).stem in leave_out:
                unseen.discard(Path(row["image"]).stem)
                continue
            for face in row["faces"]:
                points = np.array(face["points98"], np.float64).reshape(WFLW98.points, 2)
                moved = conversion.convert(given68(points))
                found = match(moved, teacher[row["image"]]) if training and row["image"] in teacher else None
                if found is not None:
                    moved, averaged = (moved + found) / 2, averaged + 1
                before.append(points)
                after.append(moved)
                face["points98"] = moved.round(2).tolist()
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {number}: expected image, split and faces[].points98; {error!r}") from error
        rows.append(json.dumps(row, separators=(",", ":")) + "\n")
    if unseen:
        raise DataError(f"{path}: no training image is named {', '.join(sorted(unseen))}")
    try:
        out.mkdir(parents=True)
        (out / "images").symlink_to((root / "images").resolve(), target_is_directory=True)
        (out / "annotations.jsonl").write_text("".join(rows), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror or error})") from error
    return Converted(np.array(before), np.array(after), averaged, len(leave_out))
