"""Image -> face boxes: the detector's maps and how they are decoded, shared by training and serving.

A face is a box: its centre, and the logarithms of its width and height. The network is run on an image once and gives
one map per level; each level is for a range of face sizes and has a stride to match, so that a face is always a few
cells wide. Randomized rounding assigns the centre to one cell, as `landmarks.codec` does for points, and the logit of a
cell is that of the probability to be the assigned one. So the 2 x 2 cells that a centre can be rounded to sum to the
probability of a face, and their mean, weighted by their probabilities, is its centre to a fraction of a cell.

Faces that are too large for the last level are found in the image at half its size, at a quarter, and so on.
`landmarks.search` says how large an image is when it is searched.

Cells and pixels are related as in `landmarks.codec` (pixel rule "center"). Source of the rounding: eq. 15 of Yu and
Tao, "Heatmap Regression via Randomized Rounding" (arXiv:2009.00225); of centres and sizes on maps of several strides:
Zhou et al., "Objects as Points" (arXiv:1904.07850), Tian et al., "FCOS" (arXiv:1904.01355).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from landmarks.detector import DetectorSpec, Level
from landmarks.tensors import MAX_DETECTION_SIDE

RgbImage = NDArray[np.uint8]
"""[H, W, 3]"""

DetectorMaps = Sequence[NDArray[np.float32]]
"""A map per level, [3, H / stride, W / stride]: the logit of a centre, then width and height as in `to_sides`."""

DetectorFunction = Callable[[NDArray[np.uint8]], DetectorMaps]
"""An RGB image [1, H, W, 3], both sides multiples of the spec's `multiple` -> its maps."""

CELLS_PER_FACE: Final = 4.0
"""Sides are encoded as logarithms of multiples of this many cells, the side of a medium face of a level."""

CONTAINMENT_THRESHOLD: Final = 0.8
"""Where a larger share than this of the smaller of two boxes lies in the other, the one with the lower score is
removed."""

NEVER: Final = -80.0
"""A logit whose probability is nothing."""

MAX_FACES: Final = 1024
"""Faces of an image that are found: the best. A service that should answer more needs the boxes of its callers."""
MAX_CANDIDATES: Final = 4 * MAX_FACES
"""Peaks of a map, and boxes of an image, that are considered: the best. A face has one to four of them. This bounds the
memory and the time that an image takes, whatever it shows."""

QUADRANTS: Final = np.array(
    [np.pad(np.ones((2, 2)), ((down, 1 - down), (right, 1 - right))) for down in (0, 1) for right in (0, 1)]
)
"""[4, 3, 3] the four squares of 2 x 2 cells that contain the middle one of 3 x 3: the centre of a peak was rounded to
the cells of one of them. All nine would include a neighbouring face of a crowd, whose cells begin two cells away."""


class Detections(NamedTuple):
    boxes: NDArray[np.float64]
    """[N, 4] xyxy in pixels, (0, 0) being the centre of the top-left pixel; may reach beyond the image."""
    scores: NDArray[np.float64]
    """[N] in [0, 1]"""

    @classmethod
    def none(cls) -> Detections:
        """No detections."""
        return cls(np.zeros((0, 4)), np.zeros(0))


# ---------------------------------------------------------------- images


def find_faces(
    image: RgbImage,
    network: DetectorFunction,
    spec: DetectorSpec,
    threshold: float | None = None,
    max_side: int = MAX_DETECTION_SIDE,
) -> Detections:
    """The faces of an image, best first, at most MAX_FACES.

    `threshold` replaces the spec's. An image with a longer side than `max_side` pixels is reduced to that first.
    """
    threshold = spec.threshold if threshold is None else threshold
    parts = list(pyramid(image, spec, max_side))
    found = []
    for part in parts:
        faces = decode(network(padded(part, spec.multiple)[None]), spec, threshold)
        if part is not parts[0]:
            # smaller ones are less than half the largest face in the image of twice the size, where their box is better
            faces = selected(faces, sizes(faces.boxes) >= spec.largest / 4)
        found.append(enlarged(faces, part, image))
    boxes, scores = (np.concatenate(each) for each in zip(*found, strict=True))
    scores = downweight_small(boxes * parts[0].shape[1] / image.shape[1], scores, spec.small_size)
    return suppress(selected(Detections(boxes, scores), scores >= threshold), spec.nms_iou)


def pyramid(image: RgbImage, spec: DetectorSpec, max_side: int) -> Iterator[RgbImage]:
    """The image at full size, half, a quarter and so on, until its longer side is at most half the largest face.

    So even a face that fills the image is seen at two sizes.
    """
    image = reduced(image, max_side)
    yield image
    while max(image.shape[:2]) > spec.largest / 2:
        image = resized(image, 0.5)
        yield image


def padded(image: RgbImage, multiple: int) -> RgbImage:
    """The image, padded with black on the right and below to sides of `canvas_side`."""
    height, width = image.shape[:2]
    below, right = canvas_side(height, multiple) - height, canvas_side(width, multiple) - width
    return np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(0, 0, 0)), np.uint8)


def canvas_side(side: int, multiple: int) -> int:
    """The least length of at least `side` pixels that the network is given: a multiple, twice or four times that.

    OpenVINO prepares for a size of image when it first sees it, which takes as long as the network does, and remembers
    a dozen. So there are few sizes, at the cost of a tenth more pixels.
    """
    step = multiple * (1 if side <= 8 * multiple else 2 if side <= 16 * multiple else 4)
    return -(-side // step) * step


def reduced(image: RgbImage, max_side: int) -> RgbImage:
    """The image, averaged down until its longer side is at most `max_side` pixels."""
    scale = max_side / max(image.shape[:2])
    return resized(image, scale) if scale < 1 else image


def resized(image: RgbImage, scale: float) -> RgbImage:
    """The image with about `scale` times the sides, at least one pixel, averaged."""
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def enlarged(found: Detections, part: RgbImage, image: RgbImage) -> Detections:
    """Boxes in the pixels of a reduced image -> in those of the image: pixel edges map to pixel edges."""
    x, y = image.shape[1] / part.shape[1], image.shape[0] / part.shape[0]
    return Detections((found.boxes + 0.5) * [x, y, x, y] - 0.5, found.scores)


def downweight_small(boxes: NDArray[np.float64], scores: NDArray[np.float64], small_size: float) -> NDArray[np.float64]:
    """Scores [N] of boxes [N, 4] in pixels of the network's input, lower for boxes smaller than `small_size`.

    Their odds are multiplied by the fourth power of size / small_size. A button or a lamp of twelve pixels looks like a
    face, and an image has many: half of all false boxes were that small, and hardly any of the faces.
    """
    odds = np.minimum(1.0, sizes(boxes) / small_size) ** 4 * scores
    weighted: NDArray[np.float64] = odds / (odds + 1 - scores)
    return weighted


def sizes(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N] the root of the area of each box [N, 4]."""
    return np.asarray(np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)))


def selected(found: Detections, kept: NDArray[np.bool_]) -> Detections:
    """Those of N detections for which `kept` [N] is true."""
    return Detections(found.boxes[kept], found.scores[kept])


# ---------------------------------------------------------------- maps


def to_cells(pixels: NDArray[np.float64], stride: int) -> NDArray[np.float64]:
    """Pixels (any shape) -> cell coordinates."""
    return (pixels + 0.5) / stride - 0.5


def from_sides(sides: NDArray[np.float64], stride: int) -> NDArray[np.float64]:
    """Widths and heights in pixels (any shape) -> the values of the maps."""
    values: NDArray[np.float64] = np.log(sides / (CELLS_PER_FACE * stride))
    return values


def to_sides(values: NDArray[np.float64], stride: int) -> NDArray[np.float64]:
    """The values of the maps -> widths and heights in pixels, limited to a factor of a thousand from CELLS_PER_FACE."""
    return CELLS_PER_FACE * stride * np.exp(np.clip(values, -7.0, 7.0))


def decode(maps: DetectorMaps, spec: DetectorSpec, threshold: float) -> Detections:
    """The peaks of the maps [3, h, w] whose score reaches the threshold, in pixels of the network's input.

    At most the MAX_CANDIDATES highest peaks of each level. One face may have several, from several levels or from equal
    cells; `suppress` leaves one.
    """
    found = [_decode_level(level, maps_, threshold) for level, maps_ in zip(spec.levels, maps, strict=True)]
    boxes, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Detections(boxes, scores)


def _decode_level(level: Level, maps: NDArray[np.float32], threshold: float) -> Detections:
    logits = maps[0]
    # the peak is the largest of its four cells
    high = logits >= math.log(threshold / (4 - threshold))
    rows, columns = np.nonzero(high & (logits == cv2.dilate(logits, np.ones((3, 3), np.uint8))))
    if not len(rows):
        return Detections.none()
    highest = _best_first(logits[rows, columns])
    rows, columns = rows[highest], columns[highest]

    windows = _windows(maps, rows, columns)
    probability = 1 / (1 + np.exp(-np.clip(windows[0], NEVER, -NEVER)))
    masses = np.einsum("nyx,qyx->nq", probability, QUADRANTS)
    weights = probability * QUADRANTS[masses.argmax(axis=1)]
    weights /= weights.sum(axis=(1, 2), keepdims=True)
    u = columns + (weights.sum(axis=1) * [-1, 0, 1]).sum(axis=1)
    v = rows + (weights.sum(axis=2) * [-1, 0, 1]).sum(axis=1)
    centres = np.stack([u, v], axis=1) * level.stride + (level.stride - 1) / 2

    sides = to_sides((weights * windows[1:]).sum(axis=(2, 3)).T, level.stride)
    scores = np.minimum(masses.max(axis=1), 1.0)
    kept = scores >= threshold
    return Detections(np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)[kept], scores[kept])


def _windows(maps: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    """The 3 x 3 cells of maps [C, h, w] around each of N cells, NEVER beyond the maps: [C, N, 3, 3]."""
    framed = np.pad(maps, ((0, 0), (1, 1), (1, 1)), constant_values=NEVER)
    windows = np.lib.stride_tricks.sliding_window_view(framed, (len(maps), 3, 3))[0, rows, columns]
    return np.asarray(np.moveaxis(windows, 1, 0), np.float64)


# ---------------------------------------------------------------- non-maximum suppression


def suppress(found: Detections, nms_iou: float) -> Detections:
    """The best of each group of boxes that overlap by more than an IoU or contain one another, best first.

    Of the MAX_CANDIDATES best boxes at most MAX_FACES are left. One box at a time is compared with those after it, so
    that memory grows with the number of boxes and not with its square.
    """
    order = _best_first(found.scores)
    boxes, left = found.boxes[order], np.ones(len(order), bool)
    kept: list[int] = []
    for i in range(len(order)):
        if left[i] and len(kept) < MAX_FACES:
            kept.append(i)
            left[i + 1 :] &= ~_overlapping(boxes[i], boxes[i + 1 :], nms_iou)
    best = order[kept]
    return Detections(found.boxes[best], found.scores[best])


def _best_first(scores: NDArray[Any]) -> NDArray[np.int64]:
    """Indices of the MAX_CANDIDATES highest of N scores, from the highest on; equal ones in their order."""
    return np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]


def _overlapping(box: NDArray[np.float64], others: NDArray[np.float64], nms_iou: float) -> NDArray[np.bool_]:
    """[N] whether a box [4] and each of the others [N, 4] are taken for one face.

    They are where their IoU is large, or where one contains the other: a face whose levels disagree about its size gets
    boxes that contain one another and have a small IoU.
    """
    shared = (np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])).clip(0).prod(axis=1)
    area, areas = (box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(axis=1)
    overlap: NDArray[np.bool_] = shared > nms_iou * (area + areas - shared)
    contained: NDArray[np.bool_] = shared > CONTAINMENT_THRESHOLD * np.minimum(area, areas)
    return overlap | contained
