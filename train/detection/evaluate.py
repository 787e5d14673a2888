"""Recall and false boxes of any detector against the boxes of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from landmarks.detection import Detections, DetectorFunction, DetectorMaps, find_faces
from landmarks.detector import DetectorSpec
from train.datasets.boxes import iou
from train.datasets.image import RgbImage, read_image
from train.detection.images import BoxedImage

MIN_SCORE = 0.8
"""Boxes of a lower score are ignored: they need not be found, and what matches one is not false either."""
MIN_SIDE = 24.0
"""Pixels; boxes whose longer side is shorter are ignored likewise."""
MIN_IOU = 0.5
"""Least IoU of a detection with the box that it matches."""
MIN_DETECTION_SCORE = 0.05
"""Detections of lower scores are discarded: thresholds from here on can be evaluated."""

Detector = Callable[[RgbImage], Detections]
"""Image [H, W, 3] -> its faces."""


@dataclass(frozen=True, eq=False)
class Matches:
    """The detections of one image, best first, matched with its boxes."""

    scores: NDArray[np.float64]
    """[N]"""
    matched: NDArray[np.int64]
    """[N] the index of the box that the detection is the first to match, else -1"""
    false: NDArray[np.bool_]
    """[N] whether it matches no box at all; a second match of the same box is false too"""
    ious: NDArray[np.float64]
    """[N] with the box it matches, else 0"""
    faces: int
    """Boxes to be found."""


def match(found: Detections, image: BoxedImage, min_side: float = MIN_SIDE) -> Matches:
    """Matches greedily, best detection first, each with the box of largest IoU among those not yet matched.

    Boxes to be found come first. A detection that matches only ignored boxes is ignored itself, even if repeated.
    """
    order = np.argsort(-found.scores, kind="stable")
    counts = (image.scores >= MIN_SCORE) & ((image.boxes[:, 2:] - image.boxes[:, :2]).max(axis=1) >= min_side)
    overlaps = iou(found.boxes[order], image.boxes[counts])
    ignored = iou(found.boxes[order], image.boxes[~counts]).max(axis=1, initial=0) >= MIN_IOU
    matched, ious = np.full(len(order), -1), np.zeros(len(order))
    for i, row in enumerate(overlaps):
        if row.max(initial=0) >= MIN_IOU:
            matched[i], ious[i] = row.argmax(), row.max()
            overlaps[:, matched[i]] = 0
    return Matches(found.scores[order], matched, (matched < 0) & ~ignored, ious, int(counts.sum()))


def match_all(detect: Detector, images: Sequence[BoxedImage], progress: bool = False) -> list[Matches]:
    """Runs a detector on images. Raises DataError when one cannot be read."""
    bar = tqdm(images, unit="image", leave=False, disable=not progress)
    return [match(detect(read_image(image.path)), image) for image in bar]


@dataclass(frozen=True)
class DetectionMetrics:
    """How good a detector is at one threshold. The field names are the keys of reports, and stay."""

    threshold: float
    photographs: int
    """Images."""
    faces: int
    """Boxes to be found."""
    recall: float
    """Share of the boxes to be found that are found."""
    false_per_photograph: float
    """False boxes per image."""
    mean_iou: float
    """Of the detections with the boxes that they match."""


def metrics_at(matches: Sequence[Matches], threshold: float) -> DetectionMetrics:
    """The metrics of the detections with a score of at least the threshold."""
    above = [each.scores >= threshold for each in matches]
    hits = [(each.matched >= 0) & kept for each, kept in zip(matches, above, strict=True)]
    found, faces = int(sum(hit.sum() for hit in hits)), sum(each.faces for each in matches)
    false = sum(int((each.false & kept).sum()) for each, kept in zip(matches, above, strict=True))
    overlap = sum(float(each.ious[hit].sum()) for each, hit in zip(matches, hits, strict=True))
    return DetectionMetrics(
        threshold, len(matches), faces, found / max(1, faces), false / max(1, len(matches)), overlap / max(1, found)
    )


def choose_threshold(matches: Sequence[Matches], false_boxes: float) -> float:
    """The lowest threshold, in steps of 0.01, with at most `false_boxes` per image; 1 where none is high enough."""
    thresholds = [percent / 100 for percent in range(round(100 * MIN_DETECTION_SCORE), 100)]
    allowed = (value for value in thresholds if metrics_at(matches, value).false_per_photograph <= false_boxes)
    return next(allowed, 1.0)


def recall_by_false_boxes(
    matches: Sequence[Matches], budgets: Sequence[float] = (0.02, 0.05, 0.1, 0.2)
) -> dict[str, Any]:
    """Recall by the false boxes per image that are allowed, each at the threshold chosen for them."""
    return {f"{budget:g}": metrics_at(matches, choose_threshold(matches, budget)).recall for budget in budgets}


def make_detector(network: DetectorFunction, spec: DetectorSpec) -> Detector:
    """A network with the post-processing that is served, down to MIN_DETECTION_SCORE."""
    return lambda image: find_faces(image, network, spec, MIN_DETECTION_SCORE)


def torch_network(model: nn.Module) -> DetectorFunction:
    """A torch model as a DetectorFunction of `landmarks.detection`, in evaluation mode and float32."""
    device = next(model.parameters()).device
    model.eval()

    @torch.inference_mode()
    def run(images: NDArray[np.uint8]) -> DetectorMaps:
        return [maps[0].float().cpu().numpy() for maps in model(torch.from_numpy(images).to(device))]

    return run
