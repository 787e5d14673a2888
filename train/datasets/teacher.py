"""A teacher's labels: the points that networks found on the faces of a data set, in a file of JSON lines.

A line for each image: `{"image": name, "faces": [{"points98": [[x, y], ...], "spread": s}, ...]}`, in pixels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from landmarks.layout import WFLW98
from train.datasets.reading import lines
from train.errors import DataError

Array = NDArray[np.float64]

MAX_SPREAD: Final = 0.02
"""Mean distance between a network's answers for a face and their mean, divided by the root of the area of the points'
box, beyond which the answers disagree and are no labels. Of 300-W's faces one in a thousand is beyond."""
MAX_DISTANCE: Final = 0.25
"""Mean distance of the points of the same face, divided by the root of their box's area, beyond which it is another."""


def load_teacher(path: Path) -> dict[str, Array]:
    """The points [faces, 98, 2] by the name of the image, without faces whose spread exceeds MAX_SPREAD.

    Raises DataError when the file is missing or malformed.
    """
    found: dict[str, Array] = {}
    for number, line in lines(path):
        try:
            row = json.loads(line)
            faces = [face for face in row["faces"] if face["spread"] <= MAX_SPREAD]
            points = [np.array(face["points98"], np.float64) for face in faces]
            found[row["image"]] = np.array(points).reshape(-1, WFLW98.points, 2)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {number}: expected image, faces[].points98 and spread; {error!r}") from error
    return found


def match(points: Array, found: Array) -> Array | None:
    """Of found faces [N, 98, 2] the one that lies where `points` [98, 2] do: [98, 2]; None where none does."""
    if not len(found):
        return None
    distances = np.linalg.norm(found - points, axis=-1).mean(axis=-1) / np.sqrt(np.ptp(points, axis=0).prod())
    return found[distances.argmin()] if distances.min() <= MAX_DISTANCE else None


def pairs(faces: Sequence[tuple[str, Array]], found: Mapping[str, Array]) -> tuple[Array, Array]:
    """Faces, given by image name and points [98, 2], and what a teacher found on them: both [N, 98, 2].

    Faces on which the teacher found nothing are left out.
    Raises DataError where no face is left.
    """
    both = [(points, match(points, found.get(name, np.zeros((0, *points.shape))))) for name, points in faces]
    kept = [(points, other) for points, other in both if other is not None]
    if not kept:
        raise DataError("the teacher's file holds none of the faces: is it of another data set?")
    return np.stack([points for points, _ in kept]), np.stack([other for _, other in kept])
