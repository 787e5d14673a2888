"""Average precision of COCO keypoints, by the data set's own evaluation code (pycocotools)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval

from train.datasets.coco import annotation_file, open_index
from train.datasets.face import AnnotatedFace, Split
from train.evaluation.predictions import Predictions
from train.evaluation.readers import DecoderName


@dataclass(frozen=True)
class AveragePrecision:
    """Percentages; see COCO's description of its keypoint evaluation."""

    ap: float
    """The mean over the similarities 0.50, 0.55 ... 0.95."""
    ap50: float
    ap75: float
    ap_medium: float
    ap_large: float
    ar: float
    """Average recall over the same similarities."""
    ar50: float
    ar75: float
    ar_medium: float
    ar_large: float


def coco_ap(predictions: Predictions, root: Path, split: Split | None, k: DecoderName) -> dict[str, Any]:
    """The entry "ap" of the figures of a split, by default the one for testing.

    A person's score is the mean of the scores of the points. The boxes of the people are the annotated ones, so that
    the misses of a detector do not count.
    """
    path = annotation_file(root, split or "val2017")
    scores = predictions.decoded[k].scores.mean(axis=1)
    return {"ap": asdict(keypoint_ap(path, predictions.faces, predictions.image_points(k), scores))}


def keypoint_ap(
    annotations: Path,
    faces: Sequence[AnnotatedFace],
    points: NDArray[np.floating[Any]],
    scores: NDArray[np.floating[Any]],
) -> AveragePrecision:
    """The figures of predicted points [people, 17, 2] in image pixels, with one score each [people].

    `faces` are the people of `annotations` that were predicted. Raises DataError when the file is not usable.
    """
    index = open_index(annotations)
    ids = {image["file_name"]: image["id"] for image in index.imgs.values()}
    results = [
        {
            "image_id": ids[face.image.name],
            "category_id": 1,
            "keypoints": np.column_stack([person, np.ones(len(person))]).ravel().tolist(),
            "score": float(score),
        }
        for face, person, score in zip(faces, points, scores, strict=True)
    ]
    with contextlib.redirect_stdout(sys.stderr):  # it prints its progress
        evaluation = COCOeval(index, index.loadRes(results), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return AveragePrecision(*(100 * float(value) for value in evaluation.stats[:10]))
