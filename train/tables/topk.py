"""Table 8 and Fig. 8: the error over the number k of cells averaged, and over the crop size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from train.tables.plots import curves
from train.tables.workshop import UNKNOWN, Table, Workshop

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from landmarks.decoders import Coordinates, Maps
    from train.datasets.source import DataSource
    from train.evaluation.trained import Trained
    from train.tables.workshop import Recipe

KS: Final = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 25, 30)
"""Cells averaged, as Table 8 sweeps them."""

PUBLISHED: Final[Mapping[str, str]] = {"1": "6.45", "the best k": "4.62", "cut by the best k": "28 %"}
"""What is known of the paper's column for crops of 64 pixels, by row."""


def table_8(shop: Workshop) -> None:
    """The error over k at three crop sizes, as a table, and as Fig. 8's curve over the crop size."""
    measured = [(recipe, errors_by_k(shop.trained(recipe), shop.source, KS)) for recipe in shop.recipes()]
    rows = [(str(k), *(f"{errors[i]:.2f}" for _, errors in measured)) for i, k in enumerate(KS)]
    rows.append(("the best k", *(f"{errors.min():.2f}" for _, errors in measured)))
    rows.append(("cut by the best k", *(f"{100 * (1 - errors.min() / errors[0]):.0f} %" for _, errors in measured)))
    Table(
        "table-8",
        "Table 8: the error over k",
        f"{shop.subject}, P2 boxes{'' if shop.configs else ', the compact backbone'}; by the\n"
        "number k of cells averaged and the side of the crop. The last column is what is known of the paper's own, of\n"
        "its data and its network.",
        ("k", *(shop.label(recipe) for recipe, _ in measured), "64 px, the paper's"),
        tuple((*row, PUBLISHED.get(row[0], UNKNOWN)) for row in rows),
    ).write(shop.out)
    plot(shop, measured)


def errors_by_k(trained: Trained, source: DataSource, ks: Sequence[int]) -> NDArray[np.float64]:
    """NME in percent for each k, [len(ks)]: every heatmap is searched once, for the largest k."""
    from landmarks.decoders import Strongest, strongest_cells, topk_mean

    def read(maps: Maps) -> list[Coordinates]:
        logits, cells = strongest_cells(maps, max(ks))
        return [topk_mean(maps, Strongest(logits[:, :k], cells[:, :k])) + trained.correction for k in ks]

    return measure(trained, source, read)


def measure(trained: Trained, source: DataSource, read: Callable[[Maps], Sequence[Coordinates]]) -> NDArray[np.float64]:
    """NME in percent of each of the readings that `read` makes of a face's maps: every heatmap is computed once.

    `read`: log-activations [points, cells, cells] of one face -> cell coordinates u [points, 2], once per reading.
    """
    import numpy as np
    from tqdm import tqdm

    from landmarks.crop import transform_points
    from train.evaluation.metrics import point_errors, report
    from train.evaluation.predict import Predictions, check_points, crops_of
    from train.samples.image_cache import ImageCache

    check_points(trained.codec, source.layout)
    faces, codec = source.test_faces(), trained.codec
    matrices, found = [], []
    batches = crops_of(faces, trained.crop_scale, codec.input_size, "P2", ImageCache(limit=0))
    with tqdm(total=len(faces), desc=f"decode at {codec.input_size} px", unit="face", leave=False) as bar:
        for crops, some in batches:
            matrices += some
            found += [codec.to_pixels(np.stack(read(maps))) for maps in trained.network(crops)]
            bar.update(len(crops))
    truth = np.stack([transform_points(matrix, face.points) for matrix, face in zip(matrices, faces, strict=True)])
    lengths = Predictions({}, truth, np.stack(matrices), faces, source.layout).lengths(source.layout.norm)
    by_reading = np.stack(found, axis=1)
    return np.array([report(point_errors(points, truth, lengths)).nme for points in by_reading])


def plot(shop: Workshop, measured: Sequence[tuple[Recipe, NDArray[np.float64]]]) -> None:
    """`table-8.png`, the error over k; `fig-8.png`, the error over the crop size."""
    by_k = {shop.label(recipe): (KS, errors.tolist()) for recipe, errors in measured}
    curves(shop.out / "table-8.png", by_k, "k, cells averaged", "NME, %")
    sizes = [recipe.size for recipe, _ in measured]
    by_size = {
        "k = 1": (sizes, [errors[0] for _, errors in measured]),
        "best k": (sizes, [errors.min() for _, errors in measured]),
    }
    curves(shop.out / "fig-8.png", by_size, "crop, pixels", "NME, %", ticks=sizes)
