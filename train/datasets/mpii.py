"""MPII human pose: 16 points of a person, in one MATLAB file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from train.datasets.face import AnnotatedFace, Format, Split
from train.datasets.layouts import MPII16
from train.datasets.mat import load_mat
from train.datasets.reading import checked, missing, unknown_split
from train.errors import DataError

POINTS: Final = 16
SPLITS: Final = ("train", "valid", "all")
HEAD_SHARE: Final = 0.6
"""A head's size is this share of its box's diagonal, as in the set's own evaluation."""

Person = tuple[str, int, int]
"""Image and rough position, which identify a person."""


def load(root: Path, split: Split) -> list[AnnotatedFace]:
    """`mpii_human_pose_v1_u12_1.mat`, images under `images/`; splits "train", "valid" and "all".

    The release holds points for its training images alone ("all") and does not split them. "valid" are the people of
    the customary list `annot/valid.json` (a list of objects with image and center), "train" the others. Pixels count
    from 1, as MATLAB does; 1 is subtracted. The box is the square of 200 pixels times the person's scale, about the
    rough position lowered by 15 pixels times the scale, so that feet stay inside.

    Raises DataError for an unknown split and for a missing or malformed file.
    """
    if split not in SPLITS:
        raise unknown_split(split, SPLITS)
    path = root / "mpii_human_pose_v1_u12_1.mat"
    people = list(_people(root, path))
    if split == "all":
        return [face for _, face in people]
    listed = _listed(root / "annot" / "valid.json")
    return [face for person, face in people if (person in listed) == (split == "valid")]


def _listed(path: Path) -> set[Person]:
    try:
        rows = json.loads(path.read_text("utf-8"))
        return {_person(row["image"], *row["center"]) for row in rows}
    except OSError as error:
        raise missing(path, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected a list of objects with image and center (x, y); {error!r}") from error


def _person(image: str, x: float, y: float) -> Person:
    return image, round(x), round(y)


def _people(root: Path, path: Path) -> Iterator[tuple[Person, AnnotatedFace]]:
    release = load_mat(path, "RELEASE", struct_as_record=False, squeeze_me=True)["RELEASE"]
    number = 0
    try:
        training = np.atleast_1d(release.img_train)
        for number, item in enumerate(_items(release.annolist), 1):
            if training[number - 1] == 1:
                people = _items(getattr(item, "annorect", ()))
                yield from (_annotated(root, path, number, item.image.name, person) for person in filter(_has, people))
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        form = "image.name and annorect with x1, y1, x2, y2, scale, objpos and annopoints.point (x, y, id)"
        raise DataError(f"{path}, RELEASE.annolist({number}): expected {form}; {error!r}") from error


def _items(value: Any) -> list[Any]:
    """The elements of a structure array, however MATLAB's single and empty ones were unwrapped."""
    return list(np.atleast_1d(value))


def _has(person: Any) -> bool:
    """Whether a person has points and a position; for some, fields are empty or absent."""
    fields = [getattr(person, name, None) for name in ("annopoints", "scale", "objpos")]
    return all(field is not None and np.size(field) > 0 for field in fields)


def _annotated(root: Path, path: Path, number: int, name: str, person: Any) -> tuple[Person, AnnotatedFace]:
    points = np.full((POINTS, 2), np.nan)
    for point in _items(person.annopoints.point):
        points[point.id] = float(point.x) - 1, float(point.y) - 1
    x, y, scale = float(person.objpos.x), float(person.objpos.y), float(person.scale)
    center, reach = np.array([x - 1, y - 1 + 15 * scale]), 100 * scale
    head = HEAD_SHARE * math.hypot(float(person.x2) - float(person.x1), float(person.y2) - float(person.y1))
    box = np.concatenate([center - reach, center + reach])
    face = AnnotatedFace(root / "images" / name, points, box, size=head)
    return _person(name, x, y), checked(face, f"{path}, RELEASE.annolist({number})")


FORMAT: Final = Format(load, MPII16, train="train", test="valid")
