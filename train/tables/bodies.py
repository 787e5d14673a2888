"""Tables 13 and 14: human poses, by decoder and by the number k of cells averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from train.evaluation.coco_ap import coco_ap
from train.evaluation.metrics import pckh
from train.evaluation.predictions import Predictions
from train.evaluation.readers import DecoderName
from train.tables.context import NO_PUBLISHED, UNKNOWN, Table, TableContext
from train.tables.plots import curves
from train.tables.topk import KS

OTHERS: Final = ("quarter", "3x3", "all")
"""Compared beside the k; argmax is k = 1."""
Figures = Sequence[float | None]
"""Percentages, one per column."""


def table_13(context: TableContext) -> None:
    """COCO: average precision and recall by object keypoint similarity."""

    def figures(predictions: Predictions, decoder: DecoderName) -> Figures:
        return list(coco_ap(predictions, context.source.root, None, decoder)["ap"].values())

    compare(
        context,
        "table-13",
        "Table 13: COCO keypoints",
        "Average precision and recall in percent by object keypoint similarity on val2017, from the annotated boxes,\n"
        "so that a detector's misses do not count.",
        ("AP", "AP50", "AP75", "AP medium", "AP large", "AR"),
        figures,
    )


def table_14(context: TableContext) -> None:
    """MPII: correct joints by head size."""

    def figures(predictions: Predictions, decoder: DecoderName) -> Figures:
        return [pckh(predictions.errors(decoder), share) for share in (0.5, 0.1)]

    compare(
        context,
        "table-14",
        "Table 14: MPII",
        "Percentage of joints within a share of the head's size, on the customary validation people.",
        ("PCKh@0.5", "PCKh@0.1"),
        figures,
    )


def compare(
    context: TableContext,
    name: str,
    title: str,
    subject: str,
    columns: tuple[str, ...],
    figures: Callable[[Predictions, DecoderName], Figures],
) -> None:
    """Writes a table of figures by crop size and decoder, and the first figure's curve over k."""
    decoders: list[DecoderName] = [*KS, *OTHERS]
    measured = {}
    for spec in context.run_specs():
        predictions = context.predict(context.trained(spec), decoders)
        measured[context.label(spec)] = {decoder: figures(predictions, decoder) for decoder in decoders}
    rows = [
        (label, f"top {decoder}" if isinstance(decoder, int) else decoder, *map(percentage, values))
        for label, by_decoder in measured.items()
        for decoder, values in by_decoder.items()
    ]
    Table(
        name,
        title,
        f"{subject}\nBy crop and decoder: the mean of the k strongest cells, and others. {NO_PUBLISHED}",
        ("crop", "decoder", *columns),
        tuple(rows),
    ).write(context.out)
    by_k = {label: (KS, [values[k][0] or 0.0 for k in KS]) for label, values in measured.items()}
    curves(context.out / f"{name}.png", by_k, "k, cells averaged", f"{columns[0]}, %")


def percentage(value: float | None) -> str:
    """A percentage as a table shows it."""
    return UNKNOWN if value is None else f"{value:.1f}"
