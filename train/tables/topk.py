"""Table 8 and Fig. 8: the error over the number k of cells averaged, and over the crop size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from train.tables.workshop import Recipe, Table, Workshop, measure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from train.codecs import Maps, Points
    from train.datasets import DataSource
    from train.trained import Trained

KS: Final = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 25, 30)
"""Cells averaged, as Table 8 sweeps them."""
CONFIGS: Final[Mapping[int, str]] = {64: "compact64", 128: "compact128", 256: "compact"}
"""The shipped configuration that ends at each crop size."""


def table_8(shop: Workshop) -> None:
    """The error over k at three crop sizes, as a table, and as Fig. 8's curve over the crop size."""
    by_size = {size: errors_by_k(shop.trained(Recipe.shipped(CONFIGS[size])), shop.source, KS) for size in shop.sizes}
    rows = [(str(k), *(f"{errors[i]:.2f}" for errors in by_size.values())) for i, k in enumerate(KS)]
    gains = [f"{100 * (1 - errors.min() / errors[0]):.0f} %" for errors in by_size.values()]
    Table(
        "table-8",
        "Table 8: the error over k",
        f"NME in percent of the inter-ocular distance on {shop.source.name}, P2 boxes, the compact backbone; by the\n"
        "number k of cells averaged and the side of the crop. On its own data and network the paper cuts 6.45 to 4.62\n"
        "at 64 pixels, by 28 %.",
        ("k", *(f"{size} px" for size in by_size)),
        (*rows, ("cut by the best k", *gains)),
    ).write(shop.out)
    plot(by_size, shop.out)


def errors_by_k(trained: Trained, source: DataSource, ks: Sequence[int]) -> NDArray[np.float64]:
    """NME in percent for each k, [len(ks)]: every heatmap is searched once, for the largest k."""
    from landmarks.codec import strongest_cells, topk_mean

    def read(maps: Maps) -> list[Points]:
        logits, cells = strongest_cells(maps, max(ks))
        return [topk_mean(logits[:, :k], cells[:, :k], trained.codec.cells)[1] for k in ks]

    return measure(trained, source, read)


def plot(by_size: Mapping[int, NDArray[np.float64]], out: Path) -> None:
    """`table-8.png`, the error over k; `fig-8.png`, the error over the crop size."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for size, errors in by_size.items():
        axes.plot(KS, errors, marker="o", markersize=4, label=f"{size} px")
    axes.set(xlabel="k, cells averaged", ylabel="NME, % of the inter-ocular distance")
    axes.legend(title="crop")
    figure.savefig(out / "table-8.png", dpi=120)

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.plot(list(by_size), [errors[0] for errors in by_size.values()], marker="o", label="k = 1")
    axes.plot(list(by_size), [errors.min() for errors in by_size.values()], marker="o", label="best k")
    axes.set(xlabel="crop, pixels", ylabel="NME, % of the inter-ocular distance", xticks=list(by_size))
    axes.legend()
    figure.savefig(out / "fig-8.png", dpi=120)
