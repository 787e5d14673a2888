"""Tables 7 and 10: the error by the number of training samples, and by the boxes of training and of testing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from landmarks.size import Size
from train.datasets.face import BoxKind
from train.tables.comparison import WFLW, figures_of
from train.tables.context import BASELINE, ROUNDING, UNKNOWN, Table, TableContext
from train.tables.decoding import errors_by_k
from train.tables.plots import curves
from train.tables.published import published

SIZES: Final = tuple(map(Size.square, (256, 128, 64)))
"""The crop sizes of table 7."""
SAMPLES: Final = (256, 1024, 4096)
FEWER_SAMPLES: Final = (128, 512)
"""The subsets of table 7: of a training split with more faces than the largest, and of a smaller one."""
METHODS: Final[Mapping[str, tuple[str, int]]] = {"baseline": (BASELINE, 1), "method": (ROUNDING, 9)}
"""The quantizer of training and k: the baseline rounds and decodes by argmax, which is k = 1 (section 4.3)."""
MAX_EPOCHS: Final = 150
"""Of a run on a subset: those of section 5.3."""


def table_7(context: TableContext) -> None:
    """The error by the number of training samples and by crop size."""
    faces = len(context.source.train_faces())
    subsets = SAMPLES if faces > max(SAMPLES) else FEWER_SAMPLES
    counts = [*(count for count in subsets if count < faces), faces]
    errors = {
        (count, size, method): error_of(context, size, method, None if count == faces else count, faces)
        for count in counts
        for size in SIZES
        if size in context.sizes
        for method in METHODS
    }
    table = published(7)
    keys = [(size, method) for size in SIZES for method in METHODS]
    ours: dict[tuple[str, ...], list[str]] = {
        (str(count),): [shown(errors.get((count, *key))) for key in keys]
        for count in counts
        if any(errors.get((count, *key)) is not None for key in keys)
    }
    Table(
        "table-7",
        "Table 7: the error by the number of training samples",
        f"{context.subject}; by the number of faces trained on and the side of the crop in pixels. Baseline: round, "
        f"and argmax to decode. Method: randomized rounding, k = {METHODS['method'][1]}. Subsets are nested. A run on "
        f"a subset has as many steps as one on all faces, but at most {MAX_EPOCHS} epochs (the paper does not say how "
        f"long it trains on subsets).\n\n{context.protocol}",
        table.header(1),
        tuple(table.beside(1, ours)),
    ).write(context.out)
    series = {
        f"{size} px, {method}": (known, [float(errors[count, size, method] or 0) for count in known])
        for size, method in keys
        if (known := [count for count in counts if errors.get((count, size, method)) is not None])
    }
    if series:
        curves(context.out / "table-7.png", series, "faces trained on", "NME, %", ticks=counts)


def error_of(context: TableContext, size: Size, method: str, samples: int | None, faces: int) -> float | None:
    """NME in percent, the mean of the seeds; None where a run is missing."""
    quantizer, k = METHODS[method]
    if samples is not None:
        epochs = min(MAX_EPOCHS, round(context.recipe.epochs * faces / samples))
        context = replace(context, recipe=context.recipe.with_epochs(epochs))
    found = context.by_seed(
        lambda seed: context.spec(size, seed, quantizer=quantizer, samples=samples),
        lambda run: errors_by_k(run, context, [k]),
    )
    return None if found is None else float(found.mean())


def shown(error: float | None) -> str:
    """An error as the table shows it."""
    return UNKNOWN if error is None else f"{error:.2f}"


BOXES: Final[tuple[tuple[BoxKind, BoxKind], ...]] = (("P1", "P1"), ("P2", "P2"), ("P1", "P2"), ("P2", "P1"))
"""Of training and of testing, in the paper's order."""


def table_10(context: TableContext) -> None:
    """The error by the boxes of training and of testing."""
    (size,) = context.sizes
    ours: dict[tuple[str, ...], list[str]] = {}
    for training, testing in BOXES:
        runs = [context.trained(context.spec(size, seed, boxes=training)) for seed in context.seeds]
        if all(runs):
            rows = [figures_of(context, run, WFLW, testing) for run in runs if run is not None]
            ours[training, testing] = [mean_of(column) for column in zip(*rows, strict=True)]
    table = published(10)
    Table(
        "table-10",
        "Table 10: the error by the boxes of training and of testing",
        f"{context.subject}, crops of {size} pixels (the paper's: 256), k = {context.recipe.topk}. P1: the tight box "
        "of the points. P2: a box with forehead and chin; the paper's are annotated as in data sets for face detection "
        "(section 5.5). Subsets that the data set lacks have no figure."
        f"\n\n{context.protocol}",
        table.header(2),
        tuple(table.beside(2, ours)),
    ).write(context.out)


def mean_of(cells: tuple[str, ...]) -> str:
    """The mean of the figures of several seeds."""
    return UNKNOWN if UNKNOWN in cells else f"{np.mean([float(cell) for cell in cells]):.2f}"
