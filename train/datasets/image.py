"""Images of data sets: where their pixels come from, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
from numpy.typing import NDArray

from train.errors import DataError

RgbImage = NDArray[np.uint8]
"""[H, W, 3], red, green and blue from 0 to 255"""


@dataclass(frozen=True)
class MatImage:
    """An image within a MATLAB 7.3 file: cell `index` of the cell array `cells`."""

    file: Path
    cells: str
    index: int

    @property
    def name(self) -> str:
        """A name that differs from those of the file's other images."""
        return f"{self.file.name}/{self.cells}/{self.index}"

    def read(self) -> RgbImage:
        """RGB uint8 [H, W, 3]; a gray image gets three equal channels. Raises DataError when it is not an image."""
        try:
            with h5py.File(self.file) as file:
                # MATLAB stores columns first: [3, W, H] for color, [W, H] for gray
                pixels = np.asarray(file[file[self.cells][0, self.index]]).T
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise DataError(f"{self.name}: cannot be read from {self.file}; {error}") from error
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
            raise DataError(f"{self.name}: expected bytes [3, W, H] or [W, H], not {pixels.dtype} {pixels.T.shape}")
        return np.ascontiguousarray(pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2))


@dataclass(frozen=True, eq=False)
class ArrayImage:
    """An image that was computed."""

    name: str
    pixels: RgbImage

    def read(self) -> RgbImage:
        """RGB uint8 [H, W, 3]; callers must not change it."""
        return self.pixels


ImageSource = Path | MatImage | ArrayImage
"""Where an image's pixels come from: an image file, a file that holds many, or memory. All have a `name`."""


def read_image(source: ImageSource) -> RgbImage:
    """RGB uint8 [H, W, 3]. Raises DataError when the image cannot be read."""
    if not isinstance(source, Path):
        return source.read()
    pixels = cv2.imread(str(source), cv2.IMREAD_COLOR)
    if pixels is None:
        raise DataError(f"{source}: cannot be read as an image")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
