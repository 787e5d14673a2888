"""Tables 13 and 14: bodies, by decoder and by the number k of cells averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from train.tables.plots import curves
from train.tables.topk import KS
from train.tables.workshop import NO_OTHERS, UNKNOWN, Table, Workshop

if TYPE_CHECKING:
    from train.evaluation.predict import Predictions
    from train.evaluation.readers import DecoderName

OTHERS: Final = ("quarter", "3x3", "all")
"""Compared beside the k; argmax is k = 1."""
Figures = Sequence["float | None"]
"""Percentages, one per column."""


def table_13(shop: Workshop) -> None:
    """COCO: average precision and recall by object keypoint similarity."""
    from train.evaluation.coco_ap import coco_ap

    def figures(predictions: Predictions, reading: DecoderName) -> Figures:
        return list(coco_ap(predictions, shop.source.root, None, reading)["ap"].values())

    compare(
        shop,
        "table-13",
        "Table 13: COCO keypoints",
        "Average precision and recall in percent by object keypoint similarity on val2017, from the annotated boxes,\n"
        "so that a detector's misses do not count.",
        ("AP", "AP50", "AP75", "AP medium", "AP large", "AR"),
        figures,
    )


def table_14(shop: Workshop) -> None:
    """MPII: correct joints by head size."""
    from train.evaluation.metrics import pckh

    def figures(predictions: Predictions, reading: DecoderName) -> Figures:
        return [pckh(predictions.errors(reading), share) for share in (0.5, 0.1)]

    compare(
        shop,
        "table-14",
        "Table 14: MPII",
        "Percentage of joints within a share of the head's size, on the customary validation people.",
        ("PCKh@0.5", "PCKh@0.1"),
        figures,
    )


def compare(
    shop: Workshop,
    name: str,
    title: str,
    subject: str,
    columns: tuple[str, ...],
    figures: Callable[[Predictions, DecoderName], Figures],
) -> None:
    """Writes a table of crop size and reading by figure, and the first figure's curve over k."""
    readings: list[DecoderName] = [*KS, *OTHERS]
    measured = {}
    for recipe in shop.recipes():
        predictions = shop.predict(shop.trained(recipe), readings)
        measured[shop.label(recipe)] = {reading: figures(predictions, reading) for reading in readings}
    rows = [
        (label, f"top {reading}" if isinstance(reading, int) else reading, *map(shown, values))
        for label, by_reading in measured.items()
        for reading, values in by_reading.items()
    ]
    Table(
        name,
        title,
        f"{subject}\nBy crop and decoder: the mean of the k strongest cells, and others. {NO_OTHERS}",
        ("crop", "decoder", *columns),
        tuple(rows),
    ).write(shop.out)
    by_k = {label: (KS, [values[k][0] or 0.0 for k in KS]) for label, values in measured.items()}
    curves(shop.out / f"{name}.png", by_k, "k, cells averaged", f"{columns[0]}, %")


def shown(value: float | None) -> str:
    """A percentage in a table."""
    return UNKNOWN if value is None else f"{value:.1f}"
