"""Recall and false boxes of a detector, any detector, against the boxes of photographs."""

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
from train.detection.photographs import Photograph

LEAST_SCORE = 0.8
"""Boxes of a lower score need not be found; what matches one is not false either."""
LEAST_SIDE = 24.0
"""Pixels; the same for boxes whose longer side falls short of it."""
MATCH = 0.5
"""Least IoU of a found box with a true one."""

FLOOR = 0.05
"""Score down to which detections are kept, so that any threshold above can be judged afterwards."""

Find = Callable[[RgbImage], Detections]


@dataclass(frozen=True, eq=False)
class Judged:
    """One photograph's detections, best first, held against its boxes."""

    scores: NDArray[np.float64]
    """[N]"""
    matched: NDArray[np.int64]
    """[N] the wanted box that each is the first to match, else -1"""
    false: NDArray[np.bool_]
    """[N] whether it matches no box at all; a second match of the same box is false too"""
    ious: NDArray[np.float64]
    """[N] with the box it matches, else 0"""
    wanted: int
    """Boxes to be found."""


def judge(found: Detections, photo: Photograph, least_side: float = LEAST_SIDE) -> Judged:
    """Matches greedily, best detection first, each with the box it overlaps most of those not yet taken.

    Wanted boxes go first. What matches only a box that need not be found is ignored, however often.
    """
    order = np.argsort(-found.scores, kind="stable")
    wanted = (photo.scores >= LEAST_SCORE) & ((photo.boxes[:, 2:] - photo.boxes[:, :2]).max(axis=1) >= least_side)
    overlaps = iou(found.boxes[order], photo.boxes[wanted])
    spared = iou(found.boxes[order], photo.boxes[~wanted]).max(axis=1, initial=0) >= MATCH
    matched, ious = np.full(len(order), -1), np.zeros(len(order))
    for i, row in enumerate(overlaps):
        if row.max(initial=0) >= MATCH:
            matched[i], ious[i] = row.argmax(), row.max()
            overlaps[:, matched[i]] = 0
    return Judged(found.scores[order], matched, (matched < 0) & ~spared, ious, int(wanted.sum()))


def judge_all(find: Find, photographs: Sequence[Photograph], progress: bool = False) -> list[Judged]:
    """Runs a detector over photographs. Raises DataError when one cannot be read."""
    bar = tqdm(photographs, unit="photo", leave=False, disable=not progress)
    return [judge(find(read_image(photo.path)), photo) for photo in bar]


@dataclass(frozen=True)
class Figures:
    """How good a detector is at one threshold."""

    threshold: float
    photographs: int
    faces: int
    recall: float
    """Share of the wanted boxes that are found."""
    false_per_photograph: float
    mean_iou: float
    """Of the found boxes with the true ones."""


def figures(judged: Sequence[Judged], threshold: float) -> Figures:
    """The figures when detections below the threshold are dropped."""
    above = [one.scores >= threshold for one in judged]
    hits = [(one.matched >= 0) & kept for one, kept in zip(judged, above, strict=True)]
    found, faces = int(sum(hit.sum() for hit in hits)), sum(one.wanted for one in judged)
    false = sum(int((one.false & kept).sum()) for one, kept in zip(judged, above, strict=True))
    overlap = sum(float(one.ious[hit].sum()) for one, hit in zip(judged, hits, strict=True))
    return Figures(
        threshold, len(judged), faces, found / max(1, faces), false / max(1, len(judged)), overlap / max(1, found)
    )


def choose_threshold(judged: Sequence[Judged], false_boxes: float) -> float:
    """The lowest threshold, in steps of 0.01, that leaves at most so many false boxes per photograph."""
    thresholds = [percent / 100 for percent in range(round(100 * FLOOR), 100)]
    allowed = (value for value in thresholds if figures(judged, value).false_per_photograph <= false_boxes)
    return next(allowed, 1.0)


def curve(judged: Sequence[Judged], budgets: Sequence[float] = (0.02, 0.05, 0.1, 0.2)) -> dict[str, Any]:
    """Recall at several numbers of false boxes per photograph, each at the threshold that it allows."""
    return {f"{budget:g}": figures(judged, choose_threshold(judged, budget)).recall for budget in budgets}


def finder(network: DetectorFunction, spec: DetectorSpec) -> Find:
    """A network as what is judged: the very steps that are served, down to FLOOR."""
    return lambda image: find_faces(image, network, spec, FLOOR)


def torch_maps(model: nn.Module) -> DetectorFunction:
    """A torch model as the network that `landmarks.detection` asks, in evaluation mode and float32."""
    device = next(model.parameters()).device
    model.eval()

    @torch.inference_mode()
    def run(pictures: NDArray[np.uint8]) -> DetectorMaps:
        return [maps[0].float().cpu().numpy() for maps in model(torch.from_numpy(pictures).to(device))]

    return run
