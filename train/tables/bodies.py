"""Tables 11 to 14: human poses by backbone and input, and by the number k of cells averaged (appendix B)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from landmarks.size import Size
from train.evaluation.coco_ap import coco_ap
from train.evaluation.metrics import pckh_by_joint
from train.evaluation.predictions import Predictions
from train.evaluation.readers import DecoderName
from train.evaluation.trained import Trained, open_run
from train.runs.folder import read_config
from train.tables.context import BASELINE, ROUNDING, Table, TableContext
from train.tables.plots import curves
from train.tables.published import published

K: Final = 11
"""That of the rows with the paper's method in tables 11 and 12: their figures are those of k = 11 in 13 and 14."""
LABELS: Final = {
    "pose_resnet_50": "ResNet-50",
    "pose_resnet_101": "ResNet-101",
    "pose_resnet_152": "ResNet-152",
    "pose_hrnet_w32": "HRNet-W32",
    "pose_hrnet_w48": "HRNet-W48",
}
"""The paper's names of backbones."""
SIGMAS: Final[Mapping[Size, float]] = {Size(width=288, height=384): 3.0}
"""Of the Gaussian maps by input, in cells, where HRNet's published configurations have others than the recipe."""

Figures = Callable[[Predictions, DecoderName], list[str]]
"""The figures of a decoder as the table shows them."""


def table_11(context: TableContext) -> None:
    """MPII by backbone and input."""
    by_backbone(context, 11, "Table 11: MPII by backbone and input", pckh_cells(1))


def table_12(context: TableContext) -> None:
    """COCO by backbone and input."""
    by_backbone(
        context,
        12,
        "Table 12: COCO by backbone and input",
        precision_cells(context),
        ("yes",),
        " People are cropped by their annotated boxes; the paper's rows without GT: by a detector's.",
    )


def table_13(context: TableContext) -> None:
    """MPII over k."""
    over_k(context, 13, "Table 13: MPII over k", pckh_cells(3), "Mean@0.1")


def table_14(context: TableContext) -> None:
    """COCO over k."""
    note = (
        " People are cropped by their annotated boxes; in the paper by a detector's, as its row `-` of Table 12 shows."
    )
    over_k(context, 14, "Table 14: COCO over k", precision_cells(context), "AP", note)


def pckh_cells(digits: int) -> Figures:
    """PCKh@0.5 of each kind of joint and of all, and PCKh@0.1 of all, in percent."""

    def figures(predictions: Predictions, decoder: DecoderName) -> list[str]:
        errors = predictions.errors(decoder)
        return [f"{value:.{digits}f}" for value in (*pckh_by_joint(errors, 0.5), pckh_by_joint(errors, 0.1)[-1])]

    return figures


def precision_cells(context: TableContext) -> Figures:
    """Average precision and recall by object keypoint similarity, as fractions."""

    def figures(predictions: Predictions, decoder: DecoderName) -> list[str]:
        return [
            f"{value / 100:.3f}" for value in coco_ap(predictions, context.source.root, None, decoder)["ap"].values()
        ]

    return figures


def by_backbone(
    context: TableContext, number: int, title: str, figures: Figures, boxes: tuple[str, ...] = (), note: str = ""
) -> None:
    """Our backbone with the quarter-shift of a network trained on rounded Gaussians, with the paper's method in
    inference alone, and in training as well. `boxes`: our cell of the column GT, where the table has one.
    """
    table = published(number)
    ours: dict[tuple[str, ...], list[str]] = {}
    for size in context.sizes[:1] if context.run else context.sizes:
        name, baseline, method = networks(context, size)
        found: dict[str, list[str]] = {}
        if baseline is not None:
            size = baseline.codec.input_size
            predictions = context.predict(baseline, ["quarter", K], flip="maps")
            found |= {"-": figures(predictions, "quarter"), "inference": figures(predictions, K)}
        if method is not None:
            found["training and inference"] = figures(context.predict(method, [K], flip="maps"), K)
        key = (name, f"{size.height}x{size.width}", *boxes)
        ours |= {(*key, how): values for how, values in found.items()}
    labels = 3 + len(boxes)
    Table(
        f"table-{number}",
        title,
        f"On {context.source.name}. H3R, `-`: Gaussian maps about rounded cells, decoded by a quarter-shift; "
        f"`inference`: the same network, decoded by the mean of the {K} strongest cells; `training and inference`: "
        f"trained with randomized rounding as well.{note}",
        table.header(labels),
        tuple(table.beside(labels, ours)),
    ).write(context.out)


def over_k(context: TableContext, number: int, title: str, figures: Figures, plotted: str, note: str = "") -> None:
    """The network trained on rounded Gaussians, over k."""
    table = published(number)
    ours: dict[tuple[str, ...], list[str]] = {}
    (size,) = context.sizes
    backbone, run, _ = networks(context, size, method=False)
    ks = [int(row[1]) for row in table.rows if row[1] != "-"]
    if run is not None:
        ks = [k for k in ks if k <= run.codec.rows * run.codec.columns]
        found = context.predict(run, ["quarter", *ks], flip="maps")
        ours = {(backbone, "-"): figures(found, "quarter"), **{(backbone, str(k)): figures(found, k) for k in ks}}
    Table(
        f"table-{number}",
        title,
        f"On {context.source.name}, crops of {run.codec.input_size if run else size} pixels, by the number k of cells "
        f"averaged; `-`: the quarter-shift.{note}",
        table.header(2),
        tuple(table.beside(2, ours)),
    ).write(context.out)
    if ours:
        at = table.columns.index(plotted) - 2
        values = [float(ours[backbone, str(k)][at]) for k in ks]
        curves(context.out / f"table-{number}.png", {backbone: (ks, values)}, "k, cells averaged", plotted)


def networks(context: TableContext, size: Size, method: bool = True) -> tuple[str, Trained | None, Trained | None]:
    """The paper's name of the backbone, the network on Gaussians about rounded cells, and that on cells drawn by
    randomized rounding (unless `method` is false), for crops of that size.

    The first is the run that the command line names, whatever its size, which has no second; or one by the recipe. None
    where it is missing.
    """
    if context.run:
        name = read_config(context.run).name
        return LABELS.get(name, name), open_run(context.run), None
    name, seed, sigma = context.recipe.name, context.seeds[0], SIGMAS.get(size, context.recipe.sigma)
    quantizers = (BASELINE, ROUNDING) if method else (BASELINE,)
    specs = [context.spec(size, seed, objective="gaussian", sigma=sigma, quantizer=each) for each in quantizers]
    runs = [context.trained(spec) for spec in specs]
    return LABELS.get(name, name), runs[0], runs[1] if method else None
