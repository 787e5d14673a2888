"""COCO keypoints: 17 points of a person, read by pycocotools."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
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


def load_detected(root: Path, split: Split, boxes: Path) -> list[AnnotatedFace]:
    """People in the boxes of a detector, in all images of a split: their points are unknown, [17, 2] NaN.

    `boxes`: a JSON list of `image_id`, `category_id` (1: a person; others are left out), `bbox` (x, y, width, height)
    and `score`, as detectors' results are published for COCO. Boxes without an area are left out. Raises DataError for
    an unknown split, and for a missing or malformed file.
    """
    if split not in SPLITS:
        raise unknown_split(split, SPLITS)
    index = open_index(annotation_file(root, split))
    try:
        found = json.loads(boxes.read_text("utf-8"))
        people = [each for each in found if each["category_id"] == 1 and min(each["bbox"][2:]) > 0]
        return [_detected(root / split, boxes, index, each) for each in people]
    except OSError as error:
        raise missing(boxes, error) from error
    except (ValueError, KeyError, TypeError) as error:
        form = "a JSON list of image_id, category_id, bbox (x, y, width, height) and score"
        raise DataError(f"{boxes}: expected {form}; {error!r}") from error


def _detected(folder: Path, path: Path, index: Any, person: Mapping[str, Any]) -> AnnotatedFace:
    """Raises ValueError, KeyError or TypeError where it is malformed."""
    if person["image_id"] not in index.imgs:
        raise DataError(f"{path}: image {person['image_id']} is not one of {folder.name}: give the boxes of this split")
    box, score = _box(person["bbox"]), float(person["score"])
    if not np.isfinite([*box, score]).all():
        raise ValueError(f"a box that is not finite: {person['bbox']}, score {score}")
    size = math.sqrt(float(np.prod(box[2:] - box[:2])))
    name = index.imgs[person["image_id"]]["file_name"]
    return AnnotatedFace(folder / name, np.full((POINTS, 2), np.nan), box, size=size, box_score=score)


def _box(bbox: Sequence[float]) -> NDArray[np.float64]:
    """A box xyxy in pixels, from a box that is measured from the image's corner. Raises ValueError or TypeError."""
    left, top, width, height = np.array(bbox, np.float64) - [0.5, 0.5, 0, 0]
    return np.array([left, top, left + width, top + height])


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
        box = _box(person["bbox"])
        name, size = index.imgs[person["image_id"]]["file_name"], math.sqrt(person["area"])
    except (ValueError, KeyError, TypeError) as error:
        form = "keypoints (17 of x, y, flag), bbox (x, y, width, height), area and a known image_id"
        raise DataError(f"{where}: expected {form}; {error!r}") from error
    points = np.where(flag[:, None] > 0, np.stack([x, y], axis=1), np.nan)
    return checked(AnnotatedFace(folder / name, points, box, size=size), where)


FORMAT: Final = Format(load, COCO17, train="train2017", test="val2017")
