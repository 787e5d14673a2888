"""What every data set is read into, and what the readers share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from train.errors import DataError

Split = str
"""A data set's own name of a part: "train", "val", "test" or a subset."""

Image = NDArray[np.uint8]
"""RGB [H, W, 3]"""

BoxKind = Literal["P1", "P2"]
"""P1: the tight box of the true points. P2: a detector's box."""


@dataclass(frozen=True)
class MatPhoto:
    """A photograph within a MATLAB 7.3 file: cell `index` of the cell array `cells`."""

    file: Path
    cells: str
    index: int

    @property
    def name(self) -> str:
        """A name that tells it from the file's other photographs."""
        return f"{self.file.name}/{self.cells}/{self.index}"

    def read(self) -> Image:
        """RGB [H, W, 3]; a grey photograph has three equal channels. Raises DataError when it is not a picture."""
        import h5py

        try:
            with h5py.File(self.file) as file:
                # MATLAB stores columns first: [3, W, H] for colour, [W, H] for grey
                pixels = np.asarray(file[file[self.cells][0, self.index]]).T
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise DataError(f"{self.name}: cannot be read from {self.file}; {error}") from error
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
            raise DataError(f"{self.name}: expected bytes [3, W, H] or [W, H], not {pixels.dtype} {pixels.T.shape}")
        return np.ascontiguousarray(pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2))


Photo = Path | MatPhoto
"""Where a photograph's pixels come from: a picture file, or a file that holds many."""


def read_photo(photo: Photo) -> Image:
    """RGB [H, W, 3]. Raises DataError when there is no readable picture."""
    if isinstance(photo, MatPhoto):
        return photo.read()
    pixels = cv2.imread(str(photo), cv2.IMREAD_COLOR)
    if pixels is None:
        raise DataError(f"{photo}: not a readable photograph")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


@dataclass(frozen=True, eq=False)
class Face:
    """One annotated face (or body), in the pixels of the photograph ((0, 0) = centre of the first pixel)."""

    image: Photo
    points: NDArray[np.float64]
    """[P, 2] in the order of the set's layout; NaN where the point is not annotated."""
    box: NDArray[np.float64]
    """[4] xyxy, a detector's box (P2)."""
    subsets: frozenset[str] = field(default_factory=frozenset)
    """Parts of the test set that the face belongs to ("pose", "occlusion")."""
    size: float | None = None
    """Pixels; the length that the set's own figures divide by (MPII: head size, COCO: root of the area)."""

    @property
    def tight_box(self) -> NDArray[np.float64]:
        """[4] xyxy, the tight box of the points (P1)."""
        return np.concatenate([np.nanmin(self.points, axis=0), np.nanmax(self.points, axis=0)])

    def box_of(self, kind: BoxKind) -> NDArray[np.float64]:
        """[4] xyxy, the box that crops of this kind are made from."""
        return self.tight_box if kind == "P1" else self.box


def checked(face: Face, where: str) -> Face:
    """Returns the face; raises DataError naming `where` when its box has no area or its points are not finite."""
    x1, y1, x2, y2 = face.box
    if not (np.isfinite(face.box).all() and x1 < x2 and y1 < y2):
        raise DataError(f"{where}: expected a box with x1 < x2 and y1 < y2, found {face.box.tolist()}")
    if np.isinf(face.points).any() or np.isnan(face.points).all():
        raise DataError(f"{where}: expected finite points")
    return face


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank. Raises DataError when the file is not there or not text."""
    try:
        with path.open(encoding="utf-8") as file:
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
