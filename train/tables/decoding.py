"""Tables 2, 8 and 9: the error over the number k of cells averaged, by crop size and by the width of Gaussian maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from landmarks.crop import transform_points
from landmarks.decoders import Coordinates, Maps, Strongest, strongest_cells, topk_mean
from landmarks.flip import mirror_points, with_mirrored
from train.datasets.source import DataSource
from train.evaluation.metrics import point_errors, report
from train.evaluation.predict import check_points, crops_of
from train.evaluation.predictions import Predictions
from train.evaluation.trained import Trained
from train.samples.image_cache import ImageCache
from train.tables.context import Table, TableContext
from train.tables.plots import curves
from train.tables.published import published

SHOWN: Final = tuple(range(1, 13))
"""The k that tables 8 and 9 have columns for."""
LARGEST_BY_SIZE: Final = 25
LARGEST_BY_SIGMA: Final = 35
"""The largest best k of table 8 and of table 9: the best is searched up to there."""
SIGMAS: Final = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)
"""Of table 9, in cells."""
ACTIVATIONS: Final = 4
"""The strongest cells of table 2."""


def table_2(context: TableContext) -> None:
    """The mean activations of the k strongest cells, and the error by k."""
    (size,) = context.sizes
    ks = range(1, ACTIVATIONS + 1)
    activations = context.by_seed(lambda seed: context.spec(size, seed), lambda run: mean_activations(run, context))
    errors = context.by_seed(lambda seed: context.spec(size, seed), lambda run: errors_by_k(run, context, ks))
    table = published(2)
    ours: dict[tuple[str, ...], list[str]] = {}
    if activations is not None and errors is not None:
        ours["mean activation",] = [f"{each:.2f}" for each in activations.mean(axis=0)]
        ours["NME, %",] = [f"{each:.2f}" for each in errors.mean(axis=0)]
    Table(
        "table-2",
        "Table 2: the activations of the strongest cells, and the error by k",
        f"{context.subject}, crops of {size} pixels. Activations are those of the four strongest cells divided by "
        f"their sum, as the paper's must be: they sum to 1.\n\n{context.protocol}",
        table.header(1),
        tuple(table.beside(1, ours)),
    ).write(context.out)


def table_8(context: TableContext) -> None:
    """The error over k by crop size."""
    measured = {
        size: context.by_seed(
            lambda seed, size=size: context.spec(size, seed),  # type: ignore[misc]
            lambda run: errors_by_k(run, context, range(1, LARGEST_BY_SIZE + 1)),
        )
        for size in context.sizes
    }
    write(
        context,
        8,
        "Table 8: the error over k by crop size",
        f"{context.subject}; by the side of the crop in pixels, and the number k of cells averaged.",
        {str(size): errors.mean(axis=0) for size, errors in measured.items() if errors is not None},
        "{} px",
    )


def table_9(context: TableContext) -> None:
    """The error over k by the standard deviation of Gaussian maps."""
    (size,) = context.sizes
    measured = {
        sigma: context.by_seed(
            lambda seed, sigma=sigma: context.spec(size, seed, objective="gaussian", sigma=sigma),  # type: ignore[misc]
            lambda run: errors_by_k(run, context, range(1, LARGEST_BY_SIGMA + 1)),
        )
        for sigma in SIGMAS
    }
    write(
        context,
        9,
        "Table 9: the error over k by the standard deviation of Gaussian maps",
        f"{context.subject}, crops of {size} pixels (the paper's: 256); by the standard deviation in cells of the maps "
        "trained towards, with squared error, about a cell drawn by randomized rounding; and the number k of cells "
        "averaged.",
        {f"{sigma:.1f}": errors.mean(axis=0) for sigma, errors in measured.items() if errors is not None},
        "sigma {}",
    )


def write(
    context: TableContext, number: int, title: str, subject: str, errors: dict[str, NDArray[np.float64]], label: str
) -> None:
    """A table of errors over k by row, with the best k of each row, beside the paper's; and its curves."""
    table = published(number)
    ours: dict[tuple[str, ...], list[str]] = {
        (row,): [*(f"{values[k - 1]:.3f}" for k in SHOWN), *best(values)] for row, values in errors.items()
    }
    Table(
        f"table-{number}",
        title,
        f"{subject}\n\n{context.protocol}",
        table.header(1),
        tuple(table.beside(1, ours)),
    ).write(context.out)
    series = {label.format(row): (range(1, len(values) + 1), values.tolist()) for row, values in errors.items()}
    if series:
        curves(context.out / f"table-{number}.png", series, "k, cells averaged", "NME, %")


def best(errors: NDArray[np.float64]) -> tuple[str, str]:
    """The least of the errors over k = 1, 2, ..., and the first k that has it, as the tables round it."""
    rounded = errors.round(3)
    return f"{rounded.min():.3f}", str(int(rounded.argmin()) + 1)


def errors_by_k(trained: Trained, context: TableContext, ks: Sequence[int]) -> NDArray[np.float64]:
    """NME in percent for each k, [len(ks)]. Every heatmap is searched once, for the largest k."""

    def read(maps: Maps) -> list[Coordinates]:
        logits, cells = strongest_cells(maps, max(ks))
        return [topk_mean(maps, Strongest(logits[:, :k], cells[:, :k])) + trained.correction for k in ks]

    return measure(trained, context.source, read, context.recipe.flip_averaging)


def mean_activations(trained: Trained, context: TableContext) -> NDArray[np.float64]:
    """The mean activations of the strongest cells of all maps, [ACTIVATIONS], normalised to a sum of 1 in each map."""
    total, maps = np.zeros(ACTIVATIONS), 0
    faces = context.source.test_faces()
    batches = crops_of(faces, trained.crop_scale, trained.codec.input_size, trained.boxes, ImageCache(limit=0))
    for crops, _ in batches:
        for face in trained.network(crops).heatmaps:
            logits = strongest_cells(face, ACTIVATIONS).logits.astype(np.float64)
            weights = np.exp(logits - logits[:, :1])
            total += (weights / weights.sum(axis=1, keepdims=True)).sum(axis=0)
            maps += len(face)
    mean: NDArray[np.float64] = total / maps
    return mean


def measure(
    trained: Trained, source: DataSource, read: Callable[[Maps], Sequence[Coordinates]], flip: bool
) -> NDArray[np.float64]:
    """NME in percent of D decoders on the test faces, [D], about the boxes of training. Every heatmap is computed once.

    `read`: log-activations [P, rows, columns] of one face -> cell coordinates u [P, 2] by each of the decoders. `flip`:
    whether points are averaged with those of the mirrored crop. Raises TrainingError when the network and the data
    differ in the number of points.
    """
    check_points(trained.codec, source.layout)
    faces, codec = source.test_faces(), trained.codec
    matrices, points = [], []
    batches = crops_of(faces, trained.crop_scale, codec.input_size, trained.boxes, ImageCache(limit=0))
    with tqdm(total=len(faces), desc=f"decode at {codec.input_size} px", unit="face", leave=False) as bar:
        for crops, batch in batches:
            matrices += batch
            maps = trained.network(with_mirrored(crops) if flip else crops).heatmaps
            found = np.stack([codec.to_pixels(np.stack(read(face))) for face in maps])
            if flip:
                back = mirror_points(found[len(crops) :], codec.input_size.width, source.layout)
                found = (found[: len(crops)] + back) / 2
            points.append(found)
            bar.update(len(crops))
    truth = np.stack([transform_points(matrix, face.points) for matrix, face in zip(matrices, faces, strict=True)])
    lengths = Predictions({}, truth, np.stack(matrices), faces, source.layout).lengths(source.layout.norm)
    by_decoder = np.concatenate(points).swapaxes(0, 1)
    return np.array([report(point_errors(each, truth, lengths)).nme for each in by_decoder])
