"""Images with a box for every face: what a detector is trained and evaluated on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from train.datasets.face import Split
from train.datasets.reading import lines
from train.datasets.source import DataSource
from train.errors import DataError

FORMAT: Final = "faces300w"
"""The one data set that has a box for every face of an image, whether its points are annotated or not."""


@dataclass(frozen=True, eq=False)
class BoxedImage:
    """An image and the boxes of its faces, which a detector found."""

    path: Path
    boxes: NDArray[np.float64]
    """[N, 4] xyxy in the image's pixels; may reach beyond it."""
    scores: NDArray[np.float64]
    """[N] the detector's, from 0 to 1"""
    lookalikes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    """[M, 4] places that show no face and that a detector took for one: see `landmarks-train mine-detector`."""


def check_format(source: DataSource) -> None:
    """Raises DataError for a data set that lacks boxes."""
    if source.name != FORMAT:
        raise DataError(f"a detector needs a box for every face, which {source.name} lacks; give {FORMAT}:PATH")


def load_images(source: DataSource, split: Split) -> list[BoxedImage]:
    """The images of split "train" or "val". Raises DataError for another data set or a malformed file."""
    check_format(source)
    path = source.root / "annotations.jsonl"
    parsed = (_parse(source.root, path, number, line, split) for number, line in lines(path))
    images = [image for image in parsed if image is not None]
    if not images:
        raise DataError(f"{path}: no images of split {split!r}; the splits are 'train' and 'val'")
    return images


def _parse(root: Path, path: Path, number: int, line: str, split: Split) -> BoxedImage | None:
    """None for a line of another split."""
    try:
        row: dict[str, Any] = json.loads(line)
        if row["split"] != split:
            return None
        boxes = np.array([box["xyxy"] for box in row["boxes"]], np.float64).reshape(-1, 4)
        scores = np.array([box["score"] for box in row["boxes"]], np.float64)
        lookalikes = np.array(row.get("lookalikes", []), np.float64).reshape(-1, 4)
        image = root / "images" / row["image"]
    except (ValueError, KeyError, TypeError) as error:
        form = "an object with image, split and boxes[] of xyxy and score"
        raise DataError(f"{path}, line {number}: expected {form}; {error!r}") from error
    every = np.concatenate([boxes, lookalikes])
    if not np.isfinite(every).all() or not (every[:, :2] < every[:, 2:]).all():
        raise DataError(f"{path}, line {number}: expected boxes with x1 < x2 and y1 < y2")
    return BoxedImage(image, boxes, scores, lookalikes)


def hold_out_every(images: Sequence[BoxedImage], every: int) -> tuple[list[BoxedImage], list[BoxedImage]]:
    """The images to train on, and every n-th of the list, which are held out to choose the threshold on.

    `train.datasets.held_out.split_by_name` would hold out others; the shipped detector was trained with these.
    """
    held_out = [image for i, image in enumerate(images) if i % every == 0]
    return [image for i, image in enumerate(images) if i % every], held_out


def fingerprint(images: Sequence[BoxedImage]) -> str:
    """`sha256:<hex>` over every image's name, boxes, scores and lookalikes, in order."""
    digest = hashlib.sha256()
    for image in images:
        arrays = (image.boxes, image.scores, image.lookalikes)
        digest.update(image.path.name.encode() + b"".join(array.tobytes() for array in arrays))
    return f"sha256:{digest.hexdigest()}"


def write_annotations(source: DataSource, rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Writes a data set of the same images with other lines of annotations into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "images").symlink_to((source.root / "images").resolve(), target_is_directory=True)
    (out / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
