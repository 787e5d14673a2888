"""300-W: 68 points, a .pts file beside every image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from train.datasets.face import AnnotatedFace, Format, Split
from train.datasets.layouts import IBUG68
from train.datasets.reading import checked, lines, unknown_split
from train.errors import DataError

POINTS: Final = 68
_COMMON: Final = {"helen/testset": "common", "lfpw/testset": "common"}
_CHALLENGE: Final = {"ibug": "challenge"}
FOLDERS: Final[Mapping[Split, Mapping[str, str]]] = {
    "train": {"afw": "afw", "helen/trainset": "helen", "lfpw/trainset": "lfpw"},
    "common": _COMMON,
    "challenge": _CHALLENGE,
    "full": {**_COMMON, **_CHALLENGE},
    "private": {"300W/01_Indoor": "indoor", "300W/02_Outdoor": "outdoor"},
}
"""The official folders of each split, and the subset that a folder's faces are reported under."""

_IMAGE_SUFFIXES: Final = (".jpg", ".png", ".jpeg")


def load(root: Path, split: Split) -> list[AnnotatedFace]:
    """The official folders side by side; splits "train", "common", "challenge", "full" and "private".

    The points count pixels from 1, as MATLAB does; 1 is subtracted. The box is the tight box of the points, as the
    annotations hold no detector's.

    Raises DataError for an unknown split, an empty folder, an image that is missing and a malformed file.
    """
    if split not in FOLDERS:
        raise unknown_split(split, tuple(FOLDERS))
    return [face for folder, subset in FOLDERS[split].items() for face in _folder(root / folder, subset)]


def _folder(folder: Path, subset: str) -> list[AnnotatedFace]:
    paths = sorted(folder.glob("*.pts"))
    if not paths:
        raise DataError(f"{folder}: expected .pts files beside their images; see docs/training.md for the layout")
    # by name, whatever the case of the ending
    images = {path.stem: path for path in folder.iterdir() if path.suffix.lower() in _IMAGE_SUFFIXES}
    return [_face(path, images, subset) for path in paths]


def _face(path: Path, images: Mapping[str, Path], subset: str) -> AnnotatedFace:
    if path.stem not in images:
        raise DataError(f"{path}: expected an image of that name with one of the endings {', '.join(_IMAGE_SUFFIXES)}")
    points = read_pts(path) - 1.0
    box = np.concatenate([points.min(axis=0), points.max(axis=0)])
    return checked(AnnotatedFace(images[path.stem], points, box, frozenset([subset])), str(path))


def read_pts(path: Path) -> NDArray[np.float64]:
    """The 68 points [68, 2] in the file's own pixels: `version`, `n_points: 68`, `{`, one point per line, `}`.

    Raises DataError naming the line that is anything else.
    """
    points = []
    within = False
    for number, line in lines(path):
        text = line.strip()
        if text == "}":
            break
        if within:
            points.append(_point(path, number, text))
        within = within or text == "{"
    if len(points) != POINTS:
        raise DataError(f"{path}: expected {POINTS} points between {{ and }}, found {len(points)}")
    return np.array(points)


def _point(path: Path, number: int, text: str) -> tuple[float, float]:
    try:
        x, y = map(float, text.split())
    except ValueError as error:
        raise DataError(f"{path}, line {number}: expected x and y, found {text!r}") from error
    return x, y


FORMAT: Final = Format(load, IBUG68, train="train", test="full")
