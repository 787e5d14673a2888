"""Table 7: the backbones, their cost and their error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from train.backbones.cost import cost_of
from train.config import Config, load_config
from train.tables.context import CONFIGS, UNKNOWN, RunSpec, Table, TableContext
from train.tables.plots import scatter

HRNETS: Final = ("hrnet_w18", "hrnet_w32", "hrnet_w48")
"""Compared at the crop size of RECIPE; their runs have these names."""
RECIPE: Final = "h3r"
"""The shipped configuration that trains them."""


class BackboneRow(NamedTuple):
    """One network on one kind of boxes."""

    backbone: str
    data: str
    boxes: str
    size: int
    parameters: str
    multiply_adds: str
    nme: str

    def cells(self) -> tuple[str, ...]:
        """The row as the table shows it."""
        return (self.backbone, self.data, self.boxes, f"{self.size} px", *self[4:])


PUBLISHED: Final[Mapping[str, Sequence[BackboneRow]]] = {
    "wflw98": (
        BackboneRow("HRNet-W18, published", "WFLW", "P1", 256, "9.69", "4.84", "3.81"),
        BackboneRow("HRNet-W18, published", "WFLW", "P2", 256, "9.69", "4.84", "3.95"),
        BackboneRow("MobileNetV2, published", "WFLW", "P2", 256, "0.60", "0.51", "4.45"),
        BackboneRow("MobileNetV2, published", "WFLW", "P2", 160, "0.60", "0.20", "4.58"),
        BackboneRow("MobileNetV2, published", "WFLW", "P2", 128, "0.60", "0.13", "4.72"),
    ),
    "ibug68": (
        BackboneRow("HRNet-W18, published", "300W", "P1", 256, "9.67", "4.77", "3.48"),
        BackboneRow("HRNet-W18, published", "300W", "P2", 256, "9.67", "4.77", "3.62"),
        BackboneRow("MobileNetV2, published", "300W", "P2", 256, "0.59", "0.47", "3.96"),
        BackboneRow("MobileNetV2, published", "300W", "P2", 128, "0.59", "0.12", "4.17"),
    ),
}
"""By layout: the figures published with the paper's code, in the README of its release."""

ORIGIN: Final = (
    "Rows marked published are figures published with the paper's code, in the README of its release. Errors on\n"
    "different data cannot be compared: WFLW is a much harder set. The plot shows the rows of this data alone."
)
UNPUBLISHED: Final = "No figures for these points were published with the paper's code, so none are shown beside ours."


def table_7(context: TableContext) -> None:
    """The backbones beside published ones. Nothing is trained for this table."""
    ours = [own_row(context, name, spec) for name, spec in compared(context)]
    published = PUBLISHED.get(context.source.layout.name, ())
    Table(
        "table-7",
        "Table 7: the error by backbone",
        f"{context.subject}, ours with the k of their runs.\n"
        "Multiply-adds are those of the convolutions, and two per output of a batch normalisation.\n"
        f"{ORIGIN if published else UNPUBLISHED}{how_to_complete(context, ours)}",
        ("backbone", "data", "boxes", "crop", "parameters, M", "multiply-adds, G", "NME, %"),
        tuple(row.cells() for row in (*ours, *published)),
    ).write(context.out)
    same = [row for row in published if row.data.lower() == context.source.name]
    known = [row for row in (*ours, *same) if row.nme != UNKNOWN]
    if known:
        series = {", ".join(row.cells()[:4]): ([float(row.multiply_adds)], [float(row.nme)]) for row in known}
        scatter(context.out / "table-7.png", series, "multiply-adds, G", "NME, %")


def compared(context: TableContext) -> list[tuple[str, RunSpec]]:
    """Our rows: the compact backbone at each crop size, the HRNets at that of their configuration."""
    compact = [("compact", RunSpec.of(CONFIGS[size])) for size in context.sizes]
    return compact + [(name, RunSpec(name, load_config(Config, RECIPE, {"name": name}))) for name in HRNETS]


def own_row(context: TableContext, name: str, spec: RunSpec) -> BackboneRow:
    """A backbone's cost, and its error where it has a finished run."""
    parameters, multiply_adds = cost_of(name, spec.size, context.source.layout.points)
    nme = f"{error(context, spec):.2f}" if context.is_finished(spec.name) else UNKNOWN
    costs = f"{parameters / 1e6:.2f}", f"{multiply_adds / 1e9:.2f}"
    return BackboneRow(name, context.source.name, spec.config.boxes, spec.size, *costs, nme)


def error(context: TableContext, spec: RunSpec) -> float:
    """NME in percent of a finished run, decoded as it is served, on the boxes that it was trained on."""
    trained = context.trained(spec)
    k = trained.codec.topk
    return context.predict(trained, [k], spec.config.boxes).report(k).nme


def how_to_complete(context: TableContext, rows: Sequence[BackboneRow]) -> str:
    """How rows without an error are completed; empty when there are none."""
    if all(row.nme != UNKNOWN for row in rows):
        return ""
    command = f"landmarks-train fit --data {context.source.name}:PATH --backbone NAME --out {context.runs.name}/NAME"
    return (
        f"\n\nA row without an error has no finished run. `{command}`\ntrains that of an HRNet, on a GPU; "
        "Table 8 trains those of the compact backbone."
    )
