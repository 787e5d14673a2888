"""Pictures without people, gathered from folders into a data set: what a detector must not find a face in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from landmarks.detection import reduced
from train.datasets.image import RgbImage
from train.errors import DataError

EXTENSIONS: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})
BEHIND: Final = 128
"""Gray level that shows through transparent pixels."""
THUMBNAIL: Final = 16
"""Side in pixels of the gray image that two pictures are compared by."""
SAME: Final = 0.97
"""Correlation of their thumbnails from which two pictures are taken for the same."""


def gather(
    folders: Sequence[Path], exclude: Sequence[str], per_folder: int, min_side: int, max_side: int, out: Path
) -> int:
    """Writes pictures and `annotations.jsonl` of format faces300w without boxes into `out`; returns their number.

    Of each folder at most `per_folder` are taken, evenly from the list of their names, and of pictures that look the
    same the first, so that no picture is in both splits. Raises DataError when there are none, or when `out` holds a
    data set.
    """
    if (out / "annotations.jsonl").exists():
        raise DataError(f"{out} holds a data set already: choose another --out")
    (out / "images").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    seen = np.zeros((0, THUMBNAIL * THUMBNAIL))
    for path in _paths(folders, exclude, per_folder):
        picture = read_picture(path)
        if picture is None or min(picture.shape[:2]) < min_side:
            continue
        looks = _looks(picture)
        if (seen @ looks).max(initial=0) > SAME:
            continue
        seen = np.concatenate([seen, looks[None]])
        name = f"{len(rows):04d}_{path.stem}.jpg"
        bgr = cv2.cvtColor(reduced(picture, max_side), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(out / "images" / name), bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])
        rows.append({"image": name, "split": ("train", "val")[len(rows) % 2], "faces": [], "boxes": []})
    if not rows:
        raise DataError(f"no pictures of at least {min_side} pixels in {', '.join(map(str, folders))}")
    (out / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return len(rows)


def _paths(folders: Sequence[Path], exclude: Sequence[str], per_folder: int) -> Iterator[Path]:
    """The image files in folders and those in them, in the order of their names."""
    for top in folders:
        for folder in sorted({path.parent for path in top.rglob("*") if path.suffix.lower() in EXTENSIONS}):
            files = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS and path.is_file())
            files = [path for path in files if not any(fnmatch(str(path), pattern) for pattern in exclude)]
            chosen = np.linspace(0, len(files) - 1, min(per_folder, len(files))).round().astype(int)
            yield from (files[i] for i in chosen)


def _looks(picture: RgbImage) -> NDArray[np.float64]:
    """The thumbnail of a picture as a vector of length 1 and mean 0; its product with another is their correlation."""
    gray = cv2.cvtColor(cv2.resize(picture, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    centered = gray.astype(np.float64).ravel() - gray.mean()
    return np.asarray(centered / max(1.0, float(np.linalg.norm(centered))))


def read_picture(path: Path) -> RgbImage | None:
    """RGB uint8 [H, W, 3] with BEHIND where it is transparent; None where OpenCV cannot read it."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint8:
        return None
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    if pixels.shape[2] == 4:
        opacity = pixels[..., 3:] / np.float32(255)
        pixels = (opacity * pixels[..., :3] + (1 - opacity) * BEHIND).round().astype(np.uint8)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
