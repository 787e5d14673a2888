"""Unbiased annotation (section 4.6, eq. 21 to 23): what annotators who click whole pixels cost. No table of the paper.

An annotator clicks a pixel near the true point. A network without heatmap error predicts, for every point, the average
of what it was trained on: of all clicks, each encoded at a stride. That average is computed exactly here, and decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from train.tables.context import Table, TableContext
from train.tables.plots import curves

Array = NDArray[np.float64]
Clicks = tuple[Array, Array]
"""Pixels that are clicked, and the probability of each: both [2, N], each column of probabilities summing to 1."""

STRIDES: Final = (1, 2, 4, 8, 16)
"""Pixels of the annotated image per heatmap cell."""
POINTS: Final = 20_000
WIDTH: Final = 960.0
"""Coordinates are drawn evenly from 0 to this number of pixels."""


def exact(x: Array) -> Clicks:
    """The true coordinate itself."""
    return np.stack([x, x]), np.stack([np.ones_like(x), np.zeros_like(x)])


def always_down(x: Array) -> Clicks:
    """The pixel to the left, or above."""
    return np.stack([np.floor(x)] * 2), np.stack([np.ones_like(x), np.zeros_like(x)])


def nearest(x: Array) -> Clicks:
    """The pixel whose centre is nearest."""
    return np.stack([np.floor(x + 0.5)] * 2), np.stack([np.ones_like(x), np.zeros_like(x)])


def unbiased(x: Array) -> Clicks:
    """Either of the two pixels around it, with the probabilities of eq. 22."""
    low = np.floor(x)
    fraction = x - low  # eq. 21
    return np.stack([low, low + 1]), np.stack([1 - fraction, fraction])


ANNOTATORS: Final[Mapping[str, Callable[[Array], Clicks]]] = {
    "exact": exact,
    "unbiased (eq. 22)": unbiased,
    "nearest pixel": nearest,
    "always left and above": always_down,
}


def baseline(clicks: Clicks, stride: int) -> Array:
    """What is decoded of rounded clicks by the strongest cell (eq. 10 and 11), in pixels [N]."""
    pixels, probability = clicks
    cells = np.floor(pixels / stride + 0.5)
    same = cells[0] == cells[1]
    strongest = np.where(same | (probability[0] >= probability[1]), cells[0], cells[1])
    return np.asarray(stride * strongest, np.float64)


def method(clicks: Clicks, stride: int) -> Array:
    """What is decoded of clicks rounded at random (eq. 15) by the mean of all active cells (eq. 17), in pixels [N]."""
    pixels, probability = clicks
    low = np.floor(pixels / stride)
    fraction = pixels / stride - low
    cell = (1 - fraction) * low + fraction * (low + 1)
    mean: Array = stride * (probability * cell).sum(axis=0)
    return mean


def annotation(context: TableContext) -> None:
    """The error by annotator and stride, of the baseline and of the method."""
    errors = {
        f"{name}, {way}": [mean_error(annotator, decode, stride) for stride in STRIDES]
        for way, decode in (("baseline", baseline), ("method", method))
        for name, annotator in ANNOTATORS.items()
    }
    shares = [100 * share_of_annotation(stride) for stride in STRIDES]
    Table(
        "annotation",
        "Unbiased annotation",
        "The mean distance in pixels of the annotated image between true and decoded points, without heatmap error, "
        "by how annotators click and by the stride: pixels of the annotated image per heatmap cell. Baseline: round "
        "and argmax. Method: randomized rounding, and the mean of the active cells.\n\nSection 4.6 says that the "
        "fractional part of a coordinate comes mainly from the stride at low resolution, where the annotation's bias "
        "can be ignored, and at high resolution relies mainly on unbiased annotation. Of the variance of that fraction "
        "this is so (last row). The baseline's error grows with the stride. The method's error is that of the "
        "annotators at every stride: none for exact and for unbiased ones, who round at random as eq. 15 does, and the "
        "same number of pixels for the others, which is a share of a cell that falls with the stride. The last row is "
        "what part of the variance of a point's fraction of a cell comes from the annotation. That fraction is (whole "
        "pixels between the cell's and the point's + the fraction of eq. 21) / s, and the last term "
        "varies 1 / s^2 as much as the sum. (Eq. 23 states a proportion.)",
        ("annotator", *(f"stride {stride}" for stride in STRIDES)),
        (
            *((name, *(f"{error:.3f}" for error in row)) for name, row in errors.items()),
            ("from annotation, % of the variance", *(f"{share:.1f}" for share in shares)),
        ),
    ).write(context.out)
    series = {name: (STRIDES, row) for name, row in errors.items()}
    curves(context.out / "annotation.png", series, "stride, pixels per cell", "error, pixels", ticks=STRIDES)


def mean_error(annotator: Callable[[Array], Clicks], decode: Callable[[Clicks, int], Array], stride: int) -> float:
    """The mean distance in pixels; x and y are annotated, encoded and decoded independently."""
    x, y = np.random.default_rng(0).uniform(0, WIDTH, (2, POINTS))
    return float(np.hypot(decode(annotator(x), stride) - x, decode(annotator(y), stride) - y).mean())


def share_of_annotation(stride: int) -> float:
    """The variance of the part of a point's fraction of a cell that annotators decide, over that of all of it."""
    x = np.random.default_rng(0).uniform(0, WIDTH, POINTS)
    return float(np.var((x - np.floor(x)) / stride) / np.var(x / stride - np.floor(x / stride)))
