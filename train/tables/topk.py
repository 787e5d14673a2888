"""Table 8 and Fig. 8: the error over the number k of cells averaged, and over the crop size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from landmarks.crop import transform_points
from landmarks.decoders import Coordinates, Maps, Strongest, strongest_cells, topk_mean
from train.datasets.source import DataSource
from train.evaluation.metrics import point_errors, report
from train.evaluation.predict import check_points, crops_of
from train.evaluation.predictions import Predictions
from train.evaluation.trained import Trained
from train.samples.image_cache import ImageCache
from train.tables.context import UNKNOWN, RunSpec, Table, TableContext
from train.tables.plots import curves

KS: Final = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 25, 30)
"""Cells averaged, as Table 8 sweeps them."""

PUBLISHED: Final[Mapping[str, str]] = {"1": "6.45", "the best k": "4.62", "cut by the best k": "28 %"}
"""Figures of the paper for crops of 64 pixels, by row."""


def table_8(context: TableContext) -> None:
    """The error over k at three crop sizes, as a table, and as Fig. 8's curve over the crop size."""
    measured = [(spec, errors_by_k(context.trained(spec), context.source, KS)) for spec in context.run_specs()]
    rows = [(str(k), *(f"{errors[i]:.2f}" for _, errors in measured)) for i, k in enumerate(KS)]
    rows.append(("the best k", *(f"{errors.min():.2f}" for _, errors in measured)))
    rows.append(("cut by the best k", *(f"{100 * (1 - errors.min() / errors[0]):.0f} %" for _, errors in measured)))
    Table(
        "table-8",
        "Table 8: the error over k",
        f"{context.subject}, P2 boxes{'' if context.configs else ', the compact backbone'}; by the\n"
        "number k of cells averaged and the side of the crop. The last column shows figures of the paper, which are\n"
        "of its data and its network.",
        ("k", *(context.label(spec) for spec, _ in measured), "64 px, the paper's"),
        tuple((*row, PUBLISHED.get(row[0], UNKNOWN)) for row in rows),
    ).write(context.out)
    plot(context, measured)


def errors_by_k(trained: Trained, source: DataSource, ks: Sequence[int]) -> NDArray[np.float64]:
    """NME in percent for each k, [len(ks)]. Every heatmap is searched once, for the largest k."""

    def decode(maps: Maps) -> list[Coordinates]:
        logits, cells = strongest_cells(maps, max(ks))
        return [topk_mean(maps, Strongest(logits[:, :k], cells[:, :k])) + trained.correction for k in ks]

    return measure(trained, source, decode)


def measure(
    trained: Trained, source: DataSource, decode: Callable[[Maps], Sequence[Coordinates]]
) -> NDArray[np.float64]:
    """NME in percent of D decoders on the test faces, [D]. Every heatmap is computed once.

    `decode`: log-activations [P, cells, cells] of one face -> cell coordinates u [P, 2] by each of the decoders. Raises
    TrainingError when the network and the data differ in the number of points.
    """
    check_points(trained.codec, source.layout)
    faces, codec = source.test_faces(), trained.codec
    matrices, points = [], []
    batches = crops_of(faces, trained.crop_scale, codec.input_size, "P2", ImageCache(limit=0))
    with tqdm(total=len(faces), desc=f"decode at {codec.input_size} px", unit="face", leave=False) as bar:
        for crops, batch in batches:
            matrices += batch
            points += [codec.to_pixels(np.stack(decode(maps))) for maps in trained.network(crops).heatmaps]
            bar.update(len(crops))
    truth = np.stack([transform_points(matrix, face.points) for matrix, face in zip(matrices, faces, strict=True)])
    lengths = Predictions({}, truth, np.stack(matrices), faces, source.layout).lengths(source.layout.norm)
    by_decoder = np.stack(points, axis=1)
    return np.array([report(point_errors(each, truth, lengths)).nme for each in by_decoder])


def plot(context: TableContext, measured: Sequence[tuple[RunSpec, NDArray[np.float64]]]) -> None:
    """`table-8.png`, the error over k; `fig-8.png`, the error over the crop size."""
    by_k = {context.label(spec): (KS, errors.tolist()) for spec, errors in measured}
    curves(context.out / "table-8.png", by_k, "k, cells averaged", "NME, %")
    sizes = [spec.size for spec, _ in measured]
    by_size = {
        "k = 1": (sizes, [errors[0] for _, errors in measured]),
        "best k": (sizes, [errors.min() for _, errors in measured]),
    }
    curves(context.out / "fig-8.png", by_size, "crop, pixels", "NME, %", ticks=sizes)
