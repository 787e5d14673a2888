"""COCO keypoints: 17 points of a person, read by pycocotools."""

from __future__ import annotations

import contextlib
import math
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from pycocotools.coco import COCO

from train.datasets.face import AnnotatedFace, Format, Split
from train.datasets.layouts import COCO17
from train.datasets.reading import checked, missing, unknown_split
from train.errors import DataError

POINTS: Final = 17
SPLITS: Final = ("train2017", "val2017")


def annotation_file(root: Path, split: Split) -> Path:
    """The path of a split's annotations."""
    return root / "annotations" / f"person_keypoints_{split}.json"


def load(root: Path, split: Split) -> list[AnnotatedFace]:
    """`annotations/person_keypoints_<split>.json`, images under `<split>/`; splits "train2017" and "val2017".

    People with at least one annotated point, without crowds. Points are integer pixels counted from 0 and taken as
    they are; a box is measured from the image's corner, half a pixel before the first pixel's center.

    Raises DataError for an unknown split and for a missing or malformed file.
    """
    if split not in SPLITS:
        raise unknown_split(split, SPLITS)
    path = annotation_file(root, split)
    index = open_index(path)
    people = sorted(index.anns.values(), key=lambda person: (person["image_id"], person["id"]))
    chosen = [person for person in people if not person.get("iscrowd") and person.get("num_keypoints")]
    return [_face(root / split, path, index, person) for person in chosen]


def open_index(path: Path) -> Any:
    """The index of pycocotools over an annotation file. Raises DataError when it is missing or not of that format."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # it prints its progress
            return COCO(str(path))
    except OSError as error:
        raise missing(path, error) from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        form = "JSON with images, categories and annotations[].id, image_id, category_id"
        raise DataError(f"{path}: expected {form}; {error!r}") from error


def _face(folder: Path, path: Path, index: Any, person: dict[str, Any]) -> AnnotatedFace:
    where = f"{path}, annotation {person['id']}"
    try:
        x, y, flag = np.array(person["keypoints"], np.float64).reshape(POINTS, 3).T
        left, top, width, height = np.array(person["bbox"], np.float64) - [0.5, 0.5, 0, 0]
        name, size = index.imgs[person["image_id"]]["file_name"], math.sqrt(person["area"])
    except (ValueError, KeyError, TypeError) as error:
        form = "keypoints (17 of x, y, flag), bbox (x, y, width, height), area and a known image_id"
        raise DataError(f"{where}: expected {form}; {error!r}") from error
    points = np.where(flag[:, None] > 0, np.stack([x, y], axis=1), np.nan)
    box = np.array([left, top, left + width, top + height])
    return checked(AnnotatedFace(folder / name, points, box, size=size), where)


FORMAT: Final = Format(load, COCO17, train="train2017", test="val2017")
