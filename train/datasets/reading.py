"""What the readers of data sets have in common: lines of text files, and checks with their errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from train.datasets.face import AnnotatedFace, Split
from train.errors import DataError


def checked(face: AnnotatedFace, where: str) -> AnnotatedFace:
    """Returns the face; raises DataError naming `where` when its box has no area or its points are not finite."""
    x1, y1, x2, y2 = face.box
    if not (np.isfinite(face.box).all() and x1 < x2 and y1 < y2):
        raise DataError(f"{where}: expected a box with x1 < x2 and y1 < y2, found {face.box.tolist()}")
    if np.isinf(face.points).any() or np.isnan(face.points).all():
        raise DataError(f"{where}: expected finite points")
    return face


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a text file that are not blank, numbered from 1, without the byte order mark that editors may put first.

    Raises DataError when it is missing or not text.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
    except OSError as error:
        raise missing(path, error) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text, found other bytes") from error


def missing(path: Path, error: OSError) -> DataError:
    """The error for a file that cannot be opened."""
    return DataError(f"{path}: cannot be read ({error.strerror or error}); see docs/training.md for the layout")


def unknown_split(split: Split, known: tuple[Split, ...]) -> DataError:
    """The error for a split that a data set does not have."""
    return DataError(f"there is no split {split!r}; the splits are {', '.join(map(repr, known))}")
