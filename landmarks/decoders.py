"""The decoders: the logits of one face's heatmaps -> cell coordinates. One registry for serving and for evaluation.

Equation numbers are those of Yu and Tao, "Heatmap Regression via Randomized Rounding", TPAMI 2021 (arXiv:2009.00225).

To add a decoder, write its function, give it an entry in DECODERS, and write its twin in
`model_repo/decode/1/torch_decode.py`. Requests, descriptions, help texts and evaluation take theirs from the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Maps = NDArray[np.float32]
"""Logits [points, rows, columns] of one face, or any other logarithms of the weights of its cells."""

Coordinates = NDArray[np.float64]
"""[points, 2] column and row in cells, u of `landmarks.codec`."""


class Strongest(NamedTuple):
    """The k largest logits of each map, largest first, equal ones in row-major order: see `strongest_cells`."""

    logits: NDArray[np.float32]
    """[points, k]"""
    cells: NDArray[np.int64]
    """[points, k] flat cell indices, row * columns + column."""


@dataclass(frozen=True)
class Decoder:
    read: Callable[[Maps, Strongest], Coordinates]
    """From the maps and their k strongest cells, k >= 1."""
    description: str
    """What it does, as a phrase for help texts."""
    k: int | None = None
    """How many cells it always looks at, where that number is fixed; a request may not ask for another."""
    takes_topk: bool = False
    """Whether a request may choose k. Where neither holds, only the score depends on k, and k is the codec's own."""
    is_compiled: bool = False
    """Whether `heatmaps.c` has it: as the weighted mean of the k strongest cells."""


def strongest_cells(maps: Maps, k: int) -> Strongest:
    """The k largest logits of each map [points, rows, columns], 1 <= k <= rows * columns.

    Only the k rows with the largest maxima can hold them: a cell of any other row is smaller than those k maxima.
    Searching those alone is exact, ties included, and several times faster than partitioning the maps
    (docs/decisions/0001).
    """
    points, rows, columns = maps.shape
    if k >= rows:  # all rows are candidates; one sort bounds the cost of a large k
        flat = maps.reshape(points, rows * columns)
        cells = np.argsort(-flat, axis=1, kind="stable")[:, :k]
        return Strongest(np.take_along_axis(flat, cells, axis=1), cells)
    order = np.argsort(-maps.max(axis=2), axis=1, kind="stable")[:, :k]
    order.sort(axis=1)  # back to row-major order, so that the first of equal cells wins below
    point = np.arange(points)
    candidates = maps[point[:, None], order].reshape(points, k * columns)
    logits = np.empty((points, k), np.float32)
    cells = np.empty((points, k), np.int64)
    for i in range(k):
        best = candidates.argmax(axis=1)
        logits[:, i] = candidates[point, best]
        cells[:, i] = order[point, best // columns] * columns + best % columns
        candidates[point, best] = -np.inf
    return Strongest(logits, cells)


def argmax(maps: Maps, strongest: Strongest) -> Coordinates:
    """The strongest cell, the first in row-major order among equals (eq. 11)."""
    columns = maps.shape[2]
    peak = strongest.cells[:, 0]
    return np.asarray(np.stack([peak % columns, peak // columns], axis=1), np.float64)


def topk_mean(maps: Maps, strongest: Strongest) -> Coordinates:
    """The mean of the k strongest cells, weighted by their activations (eq. 17 and 20).

    These are a softmax over the k alone, as the decoder released with the paper takes it.

    Sums are taken one term after the other, as `heatmaps.c` takes them.
    """
    logits, cells = strongest
    columns = maps.shape[2]
    weights = exponential((logits - logits[:, :1]).astype(np.float64))
    terms = np.stack([weights, weights * (cells % columns), weights * (cells // columns)])
    mass, x, y = np.add.accumulate(terms, axis=2)[:, :, -1]
    return np.stack([x / mass, y / mass], axis=1)


def neighbourhood_mean(maps: Maps, strongest: Strongest) -> Coordinates:
    """The softmax-weighted mean of the strongest cell and the eight around it, where the map has them (eq. 19)."""
    points, rows, columns = maps.shape
    peak = strongest.cells[:, :1]
    row, column = (peak // columns + np.repeat([-1, 0, 1], 3), peak % columns + np.tile([-1, 0, 1], 3))
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    cells = np.where(inside, row * columns + column, peak)
    logits = np.take_along_axis(maps.reshape(points, rows * columns), cells, axis=1)
    return softmax_mean(np.where(inside, logits, -np.inf), cells, strongest.logits[:, :1], columns)


def expectation(maps: Maps, strongest: Strongest) -> Coordinates:
    """The mean of all cells, weighted by a softmax over the map (eq. 17 with every cell; also called soft-argmax)."""
    points, rows, columns = maps.shape
    every = np.arange(rows * columns)[None]
    return softmax_mean(maps.reshape(points, rows * columns), every, strongest.logits[:, :1], columns)


def quarter_shift(maps: Maps, strongest: Strongest) -> Coordinates:
    """The strongest cell, moved by 1/4 towards the larger of its two neighbours, on each axis separately.

    Not moved along an axis where the neighbours are equal, or where one is missing because the map ends. The customary
    compensation that section 4.6 of the paper discusses.
    """
    peak = argmax(maps, strongest)
    columns, rows = peak.astype(np.int64).T
    slopes = np.stack([_slope(maps, rows, columns), _slope(maps.swapaxes(1, 2), columns, rows)], axis=1)
    return peak + 0.25 * slopes


def softmax_mean(
    logits: NDArray[np.float32], cells: NDArray[np.int64], peak: NDArray[np.float32], columns: int
) -> Coordinates:
    """The mean of flat cells [points, n], weighted by the softmax of their logits [points, n].

    `peak` [points, 1]: the largest of the logits, which keeps the exponentials finite.
    """
    weights = np.exp((logits - peak).astype(np.float64))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.stack([(weights * (cells % columns)).sum(axis=1), (weights * (cells // columns)).sum(axis=1)], axis=1)


def exponential(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """e^x for x <= 0, within 1e-9 of its value, by operations that give the same bits everywhere, also in `heatmaps.c`.

    e^x = 2^n e^f with |f| <= log(2) / 2, and Taylor's series of e^f.
    """
    x = np.maximum(x, -700.0)
    n = np.trunc(x * 1.4426950408889634 - 0.5)
    f = x - n * 0.6931471805599453
    series = np.ones_like(f)
    for i in range(8, 0, -1):
        series = 1 + f * (1 / i) * series
    return np.asarray(np.ldexp(series, n.astype(np.int64)))


def _slope(maps: Maps, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    """-1, 0 or 1 [points]: which column beside each peak is the larger; 0 where the map ends."""
    point, last = np.arange(len(maps)), maps.shape[2] - 1
    left, right = maps[point, rows, np.maximum(columns - 1, 0)], maps[point, rows, np.minimum(columns + 1, last)]
    return np.where((columns > 0) & (columns < last), np.sign(right.astype(np.float64) - left), 0.0)


DECODERS: Final[Mapping[str, Decoder]] = {
    "topk": Decoder(topk_mean, "the weighted mean of the k strongest cells", takes_topk=True, is_compiled=True),
    "argmax": Decoder(argmax, "the strongest cell alone", k=1, is_compiled=True),
    "quarter": Decoder(quarter_shift, "the strongest cell, a quarter towards its larger neighbours"),
    "3x3": Decoder(neighbourhood_mean, "the weighted mean of the strongest cell and its eight neighbours"),
    "all": Decoder(expectation, "the weighted mean of all cells"),
}
"""By the name that requests, `landmarks-train evaluate` and `GET /v1/models` use."""

DEFAULT_DECODER: Final = "topk"
"""What a request without a decoder is answered by, and what a model is evaluated and calibrated with."""

DECODER_HELP: Final = "; ".join(f"{name}: {each.description}" for name, each in DECODERS.items())
"""One line about each, for help texts."""
