"""Table 7: the backbones, what they cost and how far they err."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from train.config import Config, load_config
from train.tables.plots import scatter
from train.tables.workshop import CONFIGS, UNKNOWN, Recipe, Table, Workshop

HRNETS: Final = ("hrnet_w18", "hrnet_w32", "hrnet_w48")
"""Compared at the recipe's crop size; their runs have these names."""
RECIPE: Final = "h3r"
"""The shipped configuration that trains them."""


class Row(NamedTuple):
    """One network on one kind of boxes."""

    backbone: str
    data: str
    boxes: str
    size: int
    parameters: str
    multiply_adds: str
    nme: str

    def cells(self) -> tuple[str, ...]:
        """As the table shows them."""
        return (self.backbone, self.data, self.boxes, f"{self.size} px", *self[4:])


PUBLISHED: Final[Mapping[str, Sequence[Row]]] = {
    "wflw98": (
        Row("HRNet-W18, published", "WFLW", "P1", 256, "9.69", "4.84", "3.81"),
        Row("HRNet-W18, published", "WFLW", "P2", 256, "9.69", "4.84", "3.95"),
        Row("MobileNetV2, published", "WFLW", "P2", 256, "0.60", "0.51", "4.45"),
        Row("MobileNetV2, published", "WFLW", "P2", 160, "0.60", "0.20", "4.58"),
        Row("MobileNetV2, published", "WFLW", "P2", 128, "0.60", "0.13", "4.72"),
    ),
    "ibug68": (
        Row("HRNet-W18, published", "300W", "P1", 256, "9.67", "4.77", "3.48"),
        Row("HRNet-W18, published", "300W", "P2", 256, "9.67", "4.77", "3.62"),
        Row("MobileNetV2, published", "300W", "P2", 256, "0.59", "0.47", "3.96"),
        Row("MobileNetV2, published", "300W", "P2", 128, "0.59", "0.12", "4.17"),
    ),
}
"""By layout: the figures published with the paper's code, in the README of its release."""

ORIGIN: Final = (
    "Rows marked published are figures published with the paper's code, in the README of its release. Errors on\n"
    "different data cannot be compared: WFLW is much the harder set. The picture shows this data's rows alone."
)
UNPUBLISHED: Final = "No figures for these points were published with the paper's code, so none stand beside ours."


def table_7(shop: Workshop) -> None:
    """The backbones, beside what is published; nothing is trained for it."""
    ours = [own_row(shop, name, recipe) for name, recipe in compared(shop)]
    published = PUBLISHED.get(shop.source.layout.name, ())
    Table(
        "table-7",
        "Table 7: the error by backbone",
        f"{shop.subject}, ours with the k of their runs.\n"
        "Multiply-adds are those of the convolutions, and two per output of a batch normalisation.\n"
        f"{ORIGIN if published else UNPUBLISHED}{to_fill(shop, ours)}",
        ("backbone", "data", "boxes", "crop", "parameters, M", "multiply-adds, G", "NME, %"),
        tuple(row.cells() for row in (*ours, *published)),
    ).write(shop.out)
    same = [row for row in published if row.data.lower() == shop.source.name]
    known = [row for row in (*ours, *same) if row.nme != UNKNOWN]
    if known:
        series = {", ".join(row.cells()[:4]): ([float(row.multiply_adds)], [float(row.nme)]) for row in known}
        scatter(shop.out / "table-7.png", series, "multiply-adds, G", "NME, %")


def compared(shop: Workshop) -> list[tuple[str, Recipe]]:
    """Our rows: the compact backbone at each crop size, the HRNets at that of their recipe."""
    compact = [("compact", Recipe.of(CONFIGS[size])) for size in shop.sizes]
    return compact + [(name, Recipe(name, load_config(Config, RECIPE, {"name": name}))) for name in HRNETS]


def own_row(shop: Workshop, name: str, recipe: Recipe) -> Row:
    """A backbone's cost, and its error where the runs hold a finished one."""
    from train.backbones.cost import cost_of

    parameters, multiply_adds = cost_of(name, recipe.size, shop.source.layout.points)
    nme = f"{error(shop, recipe):.2f}" if shop.finished(recipe.name) else UNKNOWN
    costs = f"{parameters / 1e6:.2f}", f"{multiply_adds / 1e9:.2f}"
    return Row(name, shop.source.name, recipe.config.boxes, recipe.size, *costs, nme)


def error(shop: Workshop, recipe: Recipe) -> float:
    """NME in percent of a finished run, decoded as it is served, on the boxes that it was trained on."""
    trained = shop.trained(recipe)
    k = trained.codec.topk
    return shop.predict(trained, [k], recipe.config.boxes).report(k).nme


def to_fill(shop: Workshop, rows: Sequence[Row]) -> str:
    """What to do about rows without an error."""
    if all(row.nme != UNKNOWN for row in rows):
        return ""
    command = f"landmarks-train fit --data {shop.source.name}:PATH --backbone NAME --out {shop.runs.name}/NAME"
    return (
        f"\n\nA row without an error has no finished run. `{command}`\nmakes that of an HRNet, on a GPU; "
        "Table 8 makes those of the compact backbone."
    )
