"""The cost and the error of the backbones, beside figures published with the paper's code. No table of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from landmarks.size import Size
from train.backbones.cost import cost_of
from train.tables.context import UNKNOWN, Table, TableContext
from train.tables.decoding import errors_by_k
from train.tables.plots import scatter

NAMES: Final = ("compact", "mobilenet_v2", "hrnet_w18", "hrnet_w32", "hrnet_w48")


class BackboneRow(NamedTuple):
    """One network on one kind of boxes."""

    backbone: str
    data: str
    boxes: str
    size: Size
    parameters: str
    multiply_adds: str
    nme: str

    def cells(self) -> tuple[str, ...]:
        """The row as the table shows it."""
        return (self.backbone, self.data, self.boxes, f"{self.size} px", *self[4:])


PUBLISHED: Final[Mapping[str, Sequence[BackboneRow]]] = {
    "wflw98": (
        BackboneRow("HRNet-W18, published", "WFLW", "P1", Size.square(256), "9.69", "4.84", "3.81"),
        BackboneRow("HRNet-W18, published", "WFLW", "P2", Size.square(256), "9.69", "4.84", "3.95"),
        BackboneRow("MobileNetV2, published", "WFLW", "P2", Size.square(256), "0.60", "0.51", "4.45"),
        BackboneRow("MobileNetV2, published", "WFLW", "P2", Size.square(160), "0.60", "0.20", "4.58"),
        BackboneRow("MobileNetV2, published", "WFLW", "P2", Size.square(128), "0.60", "0.13", "4.72"),
    ),
    "ibug68": (
        BackboneRow("HRNet-W18, published", "300W", "P1", Size.square(256), "9.67", "4.77", "3.48"),
        BackboneRow("HRNet-W18, published", "300W", "P2", Size.square(256), "9.67", "4.77", "3.62"),
        BackboneRow("MobileNetV2, published", "300W", "P2", Size.square(256), "0.59", "0.47", "3.96"),
        BackboneRow("MobileNetV2, published", "300W", "P2", Size.square(128), "0.59", "0.12", "4.17"),
    ),
}
"""By layout: the figures in the README of the release of the paper's code."""

ORIGIN: Final = (
    "Rows marked published are figures in the README of the release of the paper's code. Errors on different data "
    "cannot be compared: WFLW is a much harder set. The plot shows the rows of this data alone."
)
UNPUBLISHED: Final = "No figures for these points were published with the paper's code, so none are shown beside ours."


def backbones(context: TableContext) -> None:
    """The backbones by the recipe, beside published ones. Nothing is trained for this table."""
    ours = [own_row(context, name, size) for name in NAMES for size in context.sizes]
    published = PUBLISHED.get(context.source.layout.name, ())
    Table(
        "backbones",
        "The error and the cost by backbone",
        f"{context.subject}, k = {context.recipe.topk}. "
        "Multiply-adds are those of the convolutions, and two per output of a batch normalisation. "
        f"{ORIGIN if published else UNPUBLISHED}{how_to_complete(context, ours)}\n\n{context.protocol}",
        ("backbone", "data", "boxes", "crop", "parameters, M", "multiply-adds, G", "NME, %"),
        tuple(row.cells() for row in (*ours, *published)),
    ).write(context.out)
    same = [row for row in published if row.data.lower() == context.source.name]
    known = [row for row in (*ours, *same) if row.nme != UNKNOWN]
    if known:
        series = {", ".join(row.cells()[:4]): ([float(row.multiply_adds)], [float(row.nme)]) for row in known}
        scatter(context.out / "backbones.png", series, "multiply-adds, G", "NME, %")


def own_row(context: TableContext, name: str, size: Size) -> BackboneRow:
    """A backbone's cost, and its error where it has a finished run by the recipe."""
    parameters, multiply_adds = cost_of(name, size, context.source.layout.points)
    spec = context.spec(size, context.seeds[0], name=name)
    run = context.trained(spec) if context.is_finished(spec) else None
    nme = UNKNOWN if run is None else f"{errors_by_k(run, context, [spec.config.topk])[0]:.2f}"
    costs = f"{parameters / 1e6:.2f}", f"{multiply_adds / 1e9:.2f}"
    return BackboneRow(name, context.source.name, spec.config.boxes, size, *costs, nme)


def how_to_complete(context: TableContext, rows: Sequence[BackboneRow]) -> str:
    """How rows without an error are completed; empty when there are none."""
    if all(row.nme != UNKNOWN for row in rows):
        return ""
    return (
        "\n\nA row without an error has no finished run: "
        f"`landmarks-train table 8 --data {context.source.name}:PATH --backbone NAME` trains some."
    )
