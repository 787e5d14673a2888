"""Places in pictures without people that a detector takes for faces: hard negatives to train on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from tqdm import tqdm

from train.datasets.image import read_image
from train.datasets.reading import lines
from train.datasets.source import DataSource
from train.detection.evaluate import Detector
from train.detection.images import check_format, write_annotations
from train.errors import DataError

MIN_SCORE: Final = 0.1
"""Of a box that counts as a mistake."""
MAX_PER_IMAGE: Final = 20
"""The boxes of an image that are kept: the best."""


def mine(detect: Detector, source: DataSource, out: Path) -> int:
    """Writes a data set of the pictures into `out`, with their lookalikes; returns how many there are.

    Only images of the training split that have no box are searched. `detect` gives boxes, best first. Raises DataError
    for another format or a file that cannot be read.
    """
    check_format(source)
    rows, found = [], 0
    for number, line in tqdm(list(lines(source.root / "annotations.jsonl")), unit="image", leave=False):
        try:
            row = json.loads(line)
            if row["split"] == source.format.train and not row["boxes"]:
                boxes, scores = detect(read_image(source.root / "images" / row["image"]))
                row["lookalikes"] = boxes[scores >= MIN_SCORE][:MAX_PER_IMAGE].round(1).tolist()
                found += len(row["lookalikes"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{source.root}, line {number}: expected an annotated image; {error!r}") from error
        rows.append(row)
    write_annotations(source, rows, out)
    return found
