"""Tables 11 to 14: human poses by backbone and input, and by the number k of cells averaged (appendix B)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from landmarks.size import Size
from train.datasets.coco import load_detected
from train.datasets.face import BoxKind
from train.evaluation.coco_ap import coco_ap
from train.evaluation.metrics import pckh_by_joint
from train.evaluation.readers import DecoderName
from train.evaluation.trained import Trained, open_run
from train.runs.folder import read_config
from train.tables.context import BASELINE, ROUNDING, Table, TableContext
from train.tables.plots import curves
from train.tables.published import published

K: Final = 11
"""That of the rows with the paper's method in tables 11 and 12: those of HRNet-W32 that tables 13 and 14 have as well
are those of k = 11 there. Taken for the other rows, too."""
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

Measure = Callable[[Trained, Sequence[DecoderName]], dict[DecoderName, list[str]]]
"""The figures of a network by decoder, as the table shows them."""


def table_11(context: TableContext) -> None:
    """MPII by backbone and input."""
    by_backbone(context, 11, "Table 11: MPII by backbone and input", {(): pckh(context, 1)})


def table_12(context: TableContext) -> None:
    """COCO by backbone and input; by a detector's boxes as well where they are given."""
    measures: dict[tuple[str, ...], Measure] = {("yes",): average_precision(context)}
    note = "People are cropped by their annotated boxes (GT: yes)"
    if context.person_boxes:
        measures["-",] = average_precision(context, context.person_boxes)
        note += f", and by a detector's (`-`), those of {context.person_boxes.name}."
    else:
        note += "; the paper's rows without GT: by a detector's (--person-boxes)."
    by_backbone(context, 12, "Table 12: COCO by backbone and input", measures, note)


def table_13(context: TableContext) -> None:
    """MPII over k."""
    over_k(context, 13, "Table 13: MPII over k", pckh(context, 3), "Mean@0.1")


def table_14(context: TableContext) -> None:
    """COCO over k; by a detector's boxes where they are given."""
    boxes = context.person_boxes
    whose = f"a detector's boxes, those of {boxes.name}" if boxes else "their annotated boxes"
    note = f"People are cropped by {whose}; in the paper by a detector's (--person-boxes): see its row `-` in Table 12."
    over_k(context, 14, "Table 14: COCO over k", average_precision(context, boxes), "AP", note)


def pckh(context: TableContext, digits: int) -> Measure:
    """PCKh@0.5 of each kind of joint and of all, and PCKh@0.1 of all, in percent."""

    def measure(run: Trained, decoders: Sequence[DecoderName]) -> dict[DecoderName, list[str]]:
        predictions = context.predict(run, decoders, flip="maps")
        errors = {decoder: predictions.errors(decoder) for decoder in decoders}
        return {
            decoder: [f"{value:.{digits}f}" for value in (*pckh_by_joint(each, 0.5), pckh_by_joint(each, 0.1)[-1])]
            for decoder, each in errors.items()
        }

    return measure


def average_precision(context: TableContext, person_boxes: Path | None = None) -> Measure:
    """Average precision and recall by object keypoint similarity, as fractions; of people in a detector's boxes, or in
    their annotated ones.
    """
    root = context.source.root
    people = load_detected(root, context.source.format.test, person_boxes) if person_boxes else None
    boxes: BoxKind | None = "P2" if person_boxes else None

    def measure(run: Trained, decoders: Sequence[DecoderName]) -> dict[DecoderName, list[str]]:
        predictions = context.predict(run, decoders, boxes, faces=people, flip="maps")
        figures = {decoder: coco_ap(predictions, root, None, decoder)["ap"] for decoder in decoders}
        return {decoder: [f"{value / 100:.3f}" for value in each.values()] for decoder, each in figures.items()}

    return measure


def by_backbone(
    context: TableContext, number: int, title: str, measures: Mapping[tuple[str, ...], Measure], note: str = ""
) -> None:
    """Our backbone with the quarter-shift of a network trained on rounded Gaussians, with the paper's method in
    inference alone, and in training as well. `measures`: by our cell of the column GT, where the table has one.
    """
    table = published(number)
    ours: dict[tuple[str, ...], list[str]] = {}
    for size in context.sizes[:1] if context.run else context.sizes:
        name, baseline, method = networks(context, size)
        for boxes, measure in measures.items():
            found: dict[str, list[str]] = {}
            if baseline is not None:
                size = baseline.codec.input_size
                figures = measure(baseline, ["quarter", K])
                found |= {"-": figures["quarter"], "inference": figures[K]}
            if method is not None:
                found["training and inference"] = measure(method, [K])[K]
            key = (name, f"{size.height}x{size.width}", *boxes)
            ours |= {(*key, how): values for how, values in found.items()}
    labels = 3 + len(next(iter(measures)))
    Table(
        f"table-{number}",
        title,
        f"On {context.source.name}. H3R, `-`: Gaussian maps about rounded cells, decoded by a quarter-shift; "
        f"`inference`: the same network, decoded by the mean of the {K} strongest cells; `training and inference`: "
        f"trained with randomized rounding as well. {note}".rstrip(),
        table.header(labels),
        tuple(table.beside(labels, ours)),
    ).write(context.out)


def over_k(context: TableContext, number: int, title: str, measure: Measure, plotted: str, note: str = "") -> None:
    """The network trained on rounded Gaussians, over k."""
    table = published(number)
    ours: dict[tuple[str, ...], list[str]] = {}
    (size,) = context.sizes
    backbone, run, _ = networks(context, size, method=False)
    ks = [int(row[1]) for row in table.rows if row[1] != "-"]
    if run is not None:
        ks = [k for k in ks if k <= run.codec.rows * run.codec.columns]
        figures = measure(run, ["quarter", *ks])
        ours = {(backbone, "-"): figures["quarter"], **{(backbone, str(k)): figures[k] for k in ks}}
    Table(
        f"table-{number}",
        title,
        f"On {context.source.name}, crops of {run.codec.input_size if run else size} pixels, by the number k of cells "
        f"averaged; `-`: the quarter-shift. {note}".rstrip(),
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
