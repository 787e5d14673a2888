"""Table 1: the bias of the quantizers, by sampling. Nothing is trained, and no data set is read."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import CodecSpec, Quantizer, decode, encode
from landmarks.size import Size
from train.objectives import correction
from train.tables.context import Table, TableContext
from train.tables.published import published

SAMPLES: Final = 100_000
"""Points drawn for each quantizer."""
MAPS: Final = 1000
"""Maps that are decoded at once."""
SPEC: Final = CodecSpec(points=MAPS, input_size=Size.square(32), pixel_rule="corner", topk=4)
"""Maps of 8 x 8 cells at stride 4; u = x / 4, as in eq. 12."""
FIXED: Final[tuple[Quantizer, ...]] = ("floor", "round", "ceil")


def table_1(context: TableContext) -> None:
    """Encodes points at random places into maps of one active cell, decodes these, and averages the errors."""
    ours: dict[tuple[str, ...], list[str]] = {
        (quantizer, "argmax"): [in_strides(bias(quantizer))] for quantizer in FIXED
    }
    for quantizer in FIXED:
        ours[quantizer, "argmax moved by t - 0.5 (eq. 13)"] = [in_strides(bias(quantizer, shift=correction(quantizer)))]
    ours["random", "argmax of a single draw (eq. 15)"] = [in_strides(bias("random"))]
    table = published(1)
    Table(
        "table-1",
        "Table 1: the quantization bias",
        f"The mean of (decoded - true) of x and y, in strides s, over {SAMPLES:,} points drawn evenly over the map. "
        "Encoded as one active cell by the quantizer, decoded by the served decoder. The last rows of ours are not in "
        "the paper's table: the correction of eq. 13 makes every fixed quantizer unbiased, and randomized rounding is "
        f"so by itself. The largest error of the corrected quantizers is {largest_error():.3f} strides; theorem 1 "
        "bounds it by sqrt(2)/2 = 0.707.",
        table.header(2),
        tuple(table.beside(2, ours)),
    ).write(context.out)


def errors(
    quantizer: Quantizer, shift: float = 0.0, seed: int = 0
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Errors [SAMPLES, 2] in strides of points encoded by a quantizer and decoded by argmax, moved by `shift` cells."""
    rng = np.random.default_rng(seed)
    found, points = [], rng.uniform(0, SPEC.stride * (SPEC.columns - 1), (SAMPLES // MAPS, MAPS, 2))
    for batch in points:
        cells = encode(batch, SPEC, rng, quantizer).cells
        maps = np.full((1, *SPEC.heatmap_shape), -100.0, np.float32)
        maps[0, np.arange(MAPS), cells[:, 1], cells[:, 0]] = 0.0
        found.append(decode(maps, SPEC, decoder="argmax").points[0])
    strides: NDArray[np.float64] = (np.stack(found) - points) / SPEC.stride + shift
    return strides.reshape(-1, 2)


def bias(quantizer: Quantizer, shift: float = 0.0) -> float:
    """The mean of `errors`."""
    return float(errors(quantizer, shift).mean())


def largest_error() -> float:
    """The longest error of the fixed quantizers with their correction, in strides."""
    return max(float(np.linalg.norm(errors(each, correction(each)), axis=1).max()) for each in FIXED)


def in_strides(value: float) -> str:
    """A bias as the table shows it."""
    return f"{value + 0.0:+.3f} s".replace("-0.000", "0.000").replace("+0.000", "0.000")
