"""300-W: 68 points, a .pts file beside every photograph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from train.datasets.face import Face, Split, checked, lines, unknown_split
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

_PICTURES: Final = (".jpg", ".png", ".jpeg")


def load(root: Path, split: Split) -> list[Face]:
    """The official folders side by side; splits "train", "common", "challenge", "full" and "private".

    The points count pixels from 1, as MATLAB does; 1 is taken off. The box is the tight box of the points, as the
    annotations hold no detector's.
    """
    if split not in FOLDERS:
        raise unknown_split(split, tuple(FOLDERS))
    return [face for folder, subset in FOLDERS[split].items() for face in _folder(root / folder, subset)]


def _folder(folder: Path, subset: str) -> list[Face]:
    paths = sorted(folder.glob("*.pts"))
    if not paths:
        raise DataError(f"{folder}: expected .pts files beside their photographs; see docs/training.md for the layout")
    # by name, whatever the case of the ending
    pictures = {path.stem: path for path in folder.iterdir() if path.suffix.lower() in _PICTURES}
    return [_face(path, pictures, subset) for path in paths]


def _face(path: Path, pictures: Mapping[str, Path], subset: str) -> Face:
    if path.stem not in pictures:
        raise DataError(f"{path}: expected a photograph of that name with one of the endings {', '.join(_PICTURES)}")
    points = read_pts(path) - 1.0
    box = np.concatenate([points.min(axis=0), points.max(axis=0)])
    return checked(Face(pictures[path.stem], points, box, frozenset([subset])), str(path))


def read_pts(path: Path) -> NDArray[np.float64]:
    """The 68 points [68, 2] as the file has them: `version`, `n_points: 68`, `{`, a point a line, `}`.

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
