"""Where a detector is wrong, so that the next one is trained there more often: hard examples, mined.

Source of the idea: Shrivastava et al., "Training Region-based Object Detectors with Online Hard Example Mining"
(arXiv:1604.03540); here they are mined once, before a run that starts from another's weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from landmarks.detection import Detections
from train.checkpoints import write_json
from train.datasets.face import read_photo
from train.detection.evaluate import Find, judge, wanted
from train.detection.photographs import Photograph

SUSPECTED = 0.2
"""Score from which a box about no face is a mistake."""
SURE = 0.9
"""Score up to which a face that is found is one all the same: it counts as missed."""


def mistakes(found: Detections, photo: Photograph) -> NDArray[np.float64]:
    """[N, 4] the boxes about no face, and those of the faces that are missed or barely found."""
    judged = judge(found, photo)
    surely = judged.matched[(judged.matched >= 0) & (judged.scores >= SURE)]
    missed = np.delete(photo.boxes[wanted(photo)], surely, axis=0)
    return np.concatenate([judged.boxes[judged.false & (judged.scores >= SUSPECTED)], missed])


def mine(find: Find, photographs: Sequence[Photograph], path: Path) -> None:
    """Writes a detector's mistakes in photographs, by the photographs' names. Raises DataError for one unreadable."""
    bar = tqdm(photographs, desc="mining", unit="photo", leave=False)
    found = {photo.path.name: mistakes(find(read_photo(photo.path)), photo).round(1).tolist() for photo in bar}
    write_json(path, {name: boxes for name, boxes in found.items() if boxes})


def with_mistakes(photographs: Sequence[Photograph], path: Path) -> list[Photograph]:
    """The photographs, with the mistakes that `mine` wrote of them."""
    known = json.loads(path.read_text())
    empty: list[list[float]] = []
    return [
        replace(photo, mistakes=np.array(known.get(photo.path.name, empty), np.float64).reshape(-1, 4))
        for photo in photographs
    ]
