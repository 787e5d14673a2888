"""A picture -> face boxes: the detector's maps and how to read them, shared by training and serving.

A face is a box: its centre and the logarithms of its width and height. The network looks at a picture once and gives
one map per level, each for a range of sizes and with a stride to match, so that a face is always a few cells across.
Randomized rounding puts the centre onto one cell, as `landmarks.codec` does for points; a cell's logit is that of the
probability to be the one. So the 2 x 2 cells that a centre can be rounded to sum to the probability that a face is
there, and their mean, weighted by their probabilities, is its centre to a fraction of a cell.

Larger faces than the last level's are found in the picture's halves: at half the size, at a quarter, and so on.

Cells and pixels are related as in `landmarks.codec` (pixel rule "center"). Source of the rounding: Yu and Tao, "Heatmap
Regression via Randomized Rounding" (arXiv:2009.00225); of centres and sizes on maps of several strides: Zhou et al.,
"Objects as Points" (arXiv:1904.07850), Tian et al., "FCOS" (arXiv:1904.01355).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from landmarks.metadata import MetadataError
from landmarks.tensors import MAX_DETECTION_SIDE

Image = NDArray[np.uint8]
"""RGB [H, W, 3]"""

Maps = Sequence[NDArray[np.float32]]
"""A map per level, [3, H / stride, W / stride]: the logit of a centre, then width and height as in `to_sides`."""

DETECTOR_METADATA_KEY: Final = "landmarks_detector"
"""Key of the JSON text in a detector's ONNX metadata."""

CELLS_PER_FACE: Final = 4.0
"""Sides are told as logarithms of multiples of so many cells, a middling face of a level."""

NESTED: Final = 0.8
"""Of two boxes of which a larger share of the smaller one lies in the other, the one of lower score goes."""

QUADRANTS: Final = np.array(
    [np.pad(np.ones((2, 2)), ((down, 1 - down), (right, 1 - right))) for down in (0, 1) for right in (0, 1)]
)
"""[4, 3, 3] the four squares of 2 x 2 cells that hold the middle one of 3 x 3: a peak's centre was rounded to the cells
of one of them. All nine would take in a neighbour of a crowd, whose cells begin two cells on."""


class Level(NamedTuple):
    """A map of the detector and the faces that it finds; a face's size is the root of its box's area."""

    stride: int
    """Pixels per cell."""
    smallest: float
    """Pixels."""
    largest: float
    """Pixels. Ranges of neighbours overlap, so that a face between them is found at least once."""


@dataclass(frozen=True)
class DetectorSpec:
    """Everything that training and whoever reads the detector's maps must agree on."""

    levels: tuple[Level, ...] = (Level(8, 10.0, 48.0), Level(16, 36.0, 96.0), Level(32, 72.0, 208.0))
    threshold: float = 0.5
    """Least score of a face that is reported, chosen on photographs held out of training."""
    small: float = 22.0
    """Pixels; below this size the score falls, see `weighed`."""
    overlap: float = 0.4
    """Of two boxes with a larger overlap (IoU), the one of lower score goes."""

    def __post_init__(self) -> None:
        if not self.levels:
            raise MetadataError("a detector needs at least one level")
        if not (0 < self.threshold <= 1 and 0 <= self.overlap <= 1 and self.small > 0):
            raise MetadataError(
                f"threshold {self.threshold!r} and overlap {self.overlap!r} lie in [0, 1], small {self.small!r} above 0"
            )

    @property
    def multiple(self) -> int:
        """Height and width of what the network is given are multiples of so many pixels."""
        return max(level.stride for level in self.levels)

    @property
    def largest(self) -> float:
        """Size in pixels of the largest face that the network finds."""
        return max(level.largest for level in self.levels)


class Detections(NamedTuple):
    boxes: NDArray[np.float64]
    """[N, 4] xyxy in pixels, (0, 0) being the centre of the top-left pixel; may reach beyond the picture."""
    scores: NDArray[np.float64]
    """[N] in [0, 1]"""


Network = Callable[[NDArray[np.uint8]], Maps]
"""A picture [1, H, W, 3], RGB, both sides multiples of the spec's `multiple` -> its maps."""


# ---------------------------------------------------------------- pictures


def find_faces(
    image: Image,
    network: Network,
    spec: DetectorSpec,
    threshold: float | None = None,
    longest: int = MAX_DETECTION_SIDE,
) -> Detections:
    """The faces of a picture, best first.

    `threshold` replaces the spec's. A picture with a longer side than `longest` pixels is reduced to that first.
    """
    threshold = spec.threshold if threshold is None else threshold
    parts = list(pyramid(image, spec, longest))
    found = [
        enlarged(decode(network(padded(part, spec.multiple)[None]), spec, threshold), part, image) for part in parts
    ]
    boxes, scores = (np.concatenate(each) for each in zip(*found, strict=True))
    scores = weighed(boxes * parts[0].shape[1] / image.shape[1], scores, spec.small)
    kept = scores >= threshold
    return suppress(Detections(boxes[kept], scores[kept]), spec.overlap)


def pyramid(image: Image, spec: DetectorSpec, longest: int) -> Iterator[Image]:
    """The picture, its half, its quarter and so on, to the first in which no face is too large for the network."""
    image = reduced(image, longest)
    yield image
    while max(image.shape[:2]) > spec.largest:
        image = _resized(image, 0.5)
        yield image


def padded(image: Image, multiple: int) -> Image:
    """The picture, continued in black to the right and below until its sides are multiples."""
    height, width = image.shape[:2]
    below, right = -height % multiple, -width % multiple
    return np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(0, 0, 0)), np.uint8)


def reduced(image: Image, longest: int) -> Image:
    """The picture, averaged down until its longer side is at most `longest` pixels."""
    scale = longest / max(image.shape[:2])
    return _resized(image, scale) if scale < 1 else image


def _resized(image: Image, scale: float) -> Image:
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def enlarged(found: Detections, part: Image, image: Image) -> Detections:
    """Boxes in the pixels of a reduced picture -> in those of the picture: pixel edges stay pixel edges."""
    x, y = image.shape[1] / part.shape[1], image.shape[0] / part.shape[0]
    return Detections((found.boxes + 0.5) * [x, y, x, y] - 0.5, found.scores)


def weighed(boxes: NDArray[np.float64], scores: NDArray[np.float64], small: float) -> NDArray[np.float64]:
    """Scores [N] of boxes [N, 4] in the pixels that were looked at: of what is smaller than `small`, little is a face.

    Its odds fall with the fourth power of its size. A button or a lamp of twelve pixels looks as a face does, and a
    photograph has many: half of all false boxes were that small, and hardly any of the faces.
    """
    sizes = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
    odds = np.minimum(1.0, sizes / small) ** 4 * scores
    weights: NDArray[np.float64] = odds / (odds + 1 - scores)
    return weights


# ---------------------------------------------------------------- maps


def to_cells(pixels: NDArray[np.float64], stride: int) -> NDArray[np.float64]:
    """Pixels (any shape) -> cell coordinates."""
    return (pixels + 0.5) / stride - 0.5


def from_sides(sides: NDArray[np.float64], stride: int) -> NDArray[np.float64]:
    """Widths and heights in pixels (any shape) -> what the maps hold."""
    values: NDArray[np.float64] = np.log(sides / (CELLS_PER_FACE * stride))
    return values


def to_sides(values: NDArray[np.float64], stride: int) -> NDArray[np.float64]:
    """What the maps hold -> widths and heights in pixels; absurd values are bounded to a thousandfold."""
    return CELLS_PER_FACE * stride * np.exp(np.clip(values, -7.0, 7.0))


def decode(maps: Maps, spec: DetectorSpec, threshold: float) -> Detections:
    """Every peak of the maps [3, h, w] whose score reaches the threshold, in pixels of what the network was given.

    One face may have several, from its levels or from equal cells: `suppress` leaves one.
    """
    found = [_decode_level(level, maps_, threshold) for level, maps_ in zip(spec.levels, maps, strict=True)]
    boxes, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Detections(boxes, scores)


def _decode_level(level: Level, maps: NDArray[np.float32], threshold: float) -> Detections:
    probability = _sigmoid(maps[0])
    peaks = probability == cv2.dilate(probability, np.ones((3, 3), np.uint8))
    # the peak is the largest of its four cells
    rows, columns = np.nonzero(peaks & (probability >= threshold / 4))

    windows = _windows(probability, rows, columns).astype(np.float64)
    masses = np.einsum("nyx,qyx->nq", windows, QUADRANTS)
    weights = windows * QUADRANTS[masses.argmax(axis=1)]
    weights /= weights.sum(axis=(1, 2), keepdims=True)
    u = columns + (weights.sum(axis=1) * [-1, 0, 1]).sum(axis=1)
    v = rows + (weights.sum(axis=2) * [-1, 0, 1]).sum(axis=1)
    centres = np.stack([u, v], axis=1) * level.stride + (level.stride - 1) / 2

    values = [(weights * _windows(side, rows, columns)).sum(axis=(1, 2)) for side in maps[1:]]
    sides = to_sides(np.stack(values, axis=1), level.stride)
    scores = np.minimum(masses.max(axis=1), 1.0)
    kept = scores >= threshold
    return Detections(np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)[kept], scores[kept])


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -80, 80))), np.float32)


def _windows(values: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
    """The 3 x 3 cells about each of N cells of a map, zero beyond it: [N, 3, 3]."""
    windows: NDArray[np.float32] = np.lib.stride_tricks.sliding_window_view(np.pad(values, 1), (3, 3))
    return windows[rows, columns]


def suppress(found: Detections, overlap: float) -> Detections:
    """The best of each group of boxes that overlap by more than an IoU, or lie in one another, best first."""
    rectangles = np.concatenate([found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]], axis=1)
    kept = np.asarray(cv2.dnn.NMSBoxes(rectangles.tolist(), found.scores.tolist(), 0.0, overlap), np.int64).reshape(-1)
    alone = kept[_alone(found.boxes[kept])]
    return Detections(found.boxes[alone], found.scores[alone])


def _alone(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[N] whether a box neither lies in a better one that is kept nor holds one; boxes [N, 4] are best first.

    A face whose levels disagree about its size gets boxes in one another, whose IoU is small.
    """
    shared = (np.minimum(boxes[:, None, 2:], boxes[:, 2:]) - np.maximum(boxes[:, None, :2], boxes[:, :2])).clip(0)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    nested = shared.prod(axis=2) > NESTED * np.minimum(areas[:, None], areas)
    kept = np.zeros(len(boxes), bool)
    for i, row in enumerate(nested):
        kept[i] = not (row & kept).any()
    return kept


# ---------------------------------------------------------------- what a file says of itself


@dataclass(frozen=True)
class DetectorMetadata:
    """Everything a server must know of a detector to feed it and to read its maps."""

    name: str
    spec: DetectorSpec
    run_id: str
    """The training run that made the weights."""
    commit: str
    """Of the code that trained them."""
    data: tuple[str, ...]
    """Names of the data sets trained on."""
    golden_box: tuple[float, float, float, float]
    """The face of `landmarks.golden.golden_crop()`, as the network finds it: xyxy in pixels."""

    def to_json(self) -> str:
        """One canonical line of JSON: equal metadata gives equal text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_mapping(cls, values: Mapping[str, str]) -> DetectorMetadata:
        """Reads the entry of a model file's string map. Raises MetadataError where there is none."""
        if DETECTOR_METADATA_KEY not in values:
            raise MetadataError(
                f"no {DETECTOR_METADATA_KEY!r} in the model: write it with landmarks-train export-detector"
            )
        return cls.from_json(values[DETECTOR_METADATA_KEY])

    @classmethod
    def from_json(cls, text: str) -> DetectorMetadata:
        """Reads `to_json`'s text. Raises MetadataError when it is anything else."""
        try:
            values: dict[str, Any] = json.loads(text)
            spec = dict(values["spec"])
            for owner, given in ((cls, values), (DetectorSpec, spec)):
                names = {item.name for item in fields(owner)}
                if set(given) != names:
                    raise MetadataError(
                        f"detector metadata needs exactly the keys {sorted(names)}, got {sorted(given)}"
                    )
            spec["levels"] = tuple(Level(*level) for level in spec["levels"])
            box = tuple(float(value) for value in values["golden_box"])
            return cls(
                values["name"],
                DetectorSpec(**spec),
                values["run_id"],
                values["commit"],
                tuple(values["data"]),
                _four(box),
            )
        except (TypeError, KeyError, ValueError) as error:
            raise MetadataError(f"not a detector's metadata ({error}): {text[:200]}") from error


def _four(values: tuple[float, ...]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = values
    return x1, y1, x2, y2
