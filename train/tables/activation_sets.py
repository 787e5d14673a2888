"""The sets of alternative activation points of section 4.5: what a point is decoded from. Not a table of the paper.

Given the strongest cell, the true point may lie in any of four squares of 2 x 2 cells (Fig. 5). Section 4.5 considers
one of them, their union (eq. 19), and the k strongest cells (eq. 20).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from landmarks.decoders import Coordinates, Maps, argmax, neighbourhood_mean, softmax_mean, strongest_cells, topk_mean
from train.errors import TrainingError
from train.tables.context import Table, TableContext
from train.tables.decoding import measure
from train.tables.figures import activation_probabilities
from train.tables.plots import bars

SQUARES: Final[Mapping[str, tuple[int, int]]] = {
    "above and left": (-1, -1),
    "above and right": (1, -1),
    "below and left": (-1, 1),
    "below and right": (1, 1),
}
"""The four sets of Fig. 5, by where their other cells lie about the strongest one: steps of column and row."""
LIKELIEST: Final = "the square of the largest sum"
NAMES: Final = ("the strongest cell", *SQUARES, LIKELIEST, "all nine (eq. 19)", "top 4 (eq. 20)", "top 9 (eq. 20)")
CELLS: Final = 12
POINTS: Final = 2000
"""Of the maps without heatmap error: their side, and how many there are."""
NOISES: Final = (0.0, 0.3)
"""Standard deviations of the noise on their logits."""
FLOOR: Final = -12.0
"""Logit of the cells that are never active."""


def activation_sets(context: TableContext) -> None:
    """The error by set, of maps without heatmap error, of maps with noise, and of a trained network."""
    exact = {noise: synthetic_errors(noise) for noise in NOISES}
    columns = [f"{'no heatmap error' if not noise else f'noise of {noise:g}'}, cells" for noise in NOISES]
    trained = {size: context.trained(context.spec(size, context.seeds[0])) for size in context.sizes}
    errors = {
        f"{size} px, NME %": measure(run, context.source, read_all, context.recipe.flip_averaging)
        for size, run in trained.items()
        if run is not None
    }
    if not errors:
        raise TrainingError("no run by the recipe is finished: leave --reuse-only out to train one now")
    figures = [[f"{values[i]:.3f}" for values in exact.values()] for i in range(len(NAMES))]
    measured = [[f"{values[i]:.2f}" for values in errors.values()] for i in range(len(NAMES))]
    Table(
        "activation-sets",
        "Sets of alternative activation points",
        "The error by the cells that a point is decoded from, each weighted by its activation (section 4.5 of the "
        "paper): the strongest cell and three beside it (the four sets of Fig. 5; or that of the four with the largest "
        "sum), all nine about it, or the strongest 4 or 9 wherever they are. First of "
        f"{POINTS:,} maps that are exactly what randomized rounding makes of a point on average (eq. 14), as mean "
        "distances in cells, without and with Gaussian noise on the logits; then of trained networks. "
        f"{context.subject}.\n\n{context.training}",
        ("decoded from", *columns, *errors),
        tuple((name, *figures[i], *measured[i]) for i, name in enumerate(NAMES)),
    ).write(context.out)
    bars(
        context.out / "activation-sets.png",
        list(errors),
        {name: [values[i] for values in errors.values()] for i, name in enumerate(NAMES)},
        "NME, %",
    )


def read_all(maps: Maps) -> list[Coordinates]:
    """Log-activations [P, rows, columns] -> cell coordinates u [P, 2] by each of the sets NAMES."""
    four, nine = strongest_cells(maps, 4), strongest_cells(maps, 9)
    squares = [square_mean(maps, step) for step in SQUARES.values()]
    sums = np.stack([mass for _, mass in squares])
    likeliest = np.stack([points for points, _ in squares])[sums.argmax(axis=0), np.arange(len(maps))]
    every = [points for points, _ in squares]
    return [
        argmax(maps, nine),
        *every,
        likeliest,
        neighbourhood_mean(maps, nine),
        topk_mean(maps, four),
        topk_mean(maps, nine),
    ]


def square_mean(maps: Maps, step: tuple[int, int]) -> tuple[Coordinates, NDArray[np.float64]]:
    """The mean of the strongest cell and the three beside it in one direction: points [P, 2], and the logarithm of the
    activation that the four have together [P]. Cells beyond the map do not count.
    """
    points, rows, columns = maps.shape
    strongest = strongest_cells(maps, 1)
    peak = strongest.cells[:, 0]
    right, down = step
    column = peak[:, None] % columns + np.array([0, right, 0, right])
    row = peak[:, None] // columns + np.array([0, 0, down, down])
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    cells = np.where(inside, row * columns + column, peak[:, None])
    logits = np.where(inside, np.take_along_axis(maps.reshape(points, -1), cells, axis=1), -np.inf).astype(np.float32)
    mass = np.log(np.exp((logits - strongest.logits).astype(np.float64)).sum(axis=1))
    return softmax_mean(logits, cells, strongest.logits, columns), mass


def synthetic_errors(noise: float) -> list[float]:
    """Mean distances in cells between points and what each set decodes of their expected maps, with noise on logits."""
    rng = np.random.default_rng(0)
    points = rng.uniform(3, CELLS - 4, (POINTS, 2))
    maps = np.full((POINTS, CELLS, CELLS), FLOOR)
    for i, (x, y) in enumerate(points):
        for (column, row), share in activation_probabilities((x, y)).items():
            maps[i, row, column] = max(FLOOR, np.log(share))
    noisy = (maps + noise * rng.standard_normal(maps.shape)).astype(np.float32)
    return [float(np.linalg.norm(found - points, axis=1).mean()) for found in read_all(noisy)]
