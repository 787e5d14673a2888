"""Average precision of COCO keypoints, by the data set's own evaluation code (pycocotools)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval, Params

from train.datasets.coco import annotation_file, open_index
from train.datasets.face import AnnotatedFace, Split
from train.evaluation.predictions import Predictions
from train.evaluation.readers import DecoderName

SIGMAS: Final = Params("keypoints").kpt_oks_sigmas
"""[17] how far people's clicks of a point scatter, over the root of the area: COCO's constants."""
MAX_SIMILARITY: Final = 0.9
"""As in HRNet's code, by whose setup the paper evaluates (appendix B)."""


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

    Of people in annotated boxes the misses of a detector do not count, and a person's score is the mean of the scores
    of the points. That of people in a detector's boxes (`train.datasets.coco.load_detected`) is multiplied by the
    box's, and of those that are found twice one counts: see `without_duplicates`.
    """
    path = annotation_file(root, split or "val2017")
    people, points = predictions.faces, predictions.image_points(k)
    scores = predictions.decoded[k].scores.mean(axis=1)
    box_scores = [person.box_score for person in people if person.box_score is not None]
    if box_scores:
        scores = scores * box_scores
        kept = without_duplicates(people, points, scores)
        people, points, scores = [people[i] for i in kept], points[kept], scores[kept]
    return {"ap": asdict(keypoint_ap(path, people, points, scores))}


def without_duplicates(
    people: Sequence[AnnotatedFace], points: NDArray[np.floating[Any]], scores: NDArray[np.floating[Any]]
) -> list[int]:
    """The indices of the people without those that are found twice: whose points [people, 17, 2], in image pixels, are
    more similar than MAX_SIMILARITY to those of somebody in the same image with a higher score [people].

    Several boxes of a detector may hold the same person. The similarity is COCO's of objects, with the area of the box.
    """
    images: dict[str, list[int]] = {}
    for i in np.argsort(-scores, kind="stable").tolist():
        kept = images.setdefault(people[i].image.name, [])
        if all(similarity(people[i], points[i], people[j], points[j]) <= MAX_SIMILARITY for j in kept):
            kept.append(i)
    return sorted(i for kept in images.values() for i in kept)


def similarity(
    one: AnnotatedFace, points: NDArray[np.floating[Any]], other: AnnotatedFace, others: NDArray[np.floating[Any]]
) -> float:
    """COCO's object keypoint similarity, 0 to 1, of points [17, 2] of two people, by the mean of their areas."""
    area = ((one.size or 0) ** 2 + (other.size or 0) ** 2) / 2
    squares = ((points - others) ** 2).sum(axis=1)
    return float(np.exp(-squares / (2 * area * (2 * SIGMAS) ** 2)).mean())


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
