"""The paper's tables and figures on other data, each about what the paper's is about, with its figures beside ours; and
tables of the project's own. `landmarks-train table NAME` trains or reuses the runs that one needs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple

from landmarks.size import Size
from train.datasets.registry import FORMATS
from train.tables import ablation, bodies, comparison, decoding, figures, heatmaps
from train.tables.activation_sets import activation_sets
from train.tables.annotation import annotation
from train.tables.backbones import backbones
from train.tables.context import TableContext
from train.tables.quantization import table_1


class Entry(NamedTuple):
    """A table or a figure that can be made."""

    make: Callable[[TableContext], None]
    subject: str
    formats: Collection[str]
    """Data sets that it can be made on; none: it needs no data."""
    sizes: tuple[Size, ...] = (Size.square(256),)
    """The crop sizes that the paper's has."""
    single_size: bool = False
    """Whether it is of one crop size."""
    recipe: str = "h3r"
    """The configuration that its runs are trained by, unless another is named."""


FACES: Final = [name for name, known in FORMATS.items() if known.layout.norm != "size"]
POINTS_98: Final = [name for name, known in FORMATS.items() if known.layout.points == 98]
ALL_SIZES: Final = tuple(map(Size.square, (512, 384, 256, 128, 96, 64)))
OWN_SIZES: Final = tuple(heatmaps.EPOCHS)
SMALLEST: Final = (Size.square(64),)
COCO_SIZES: Final = (Size(width=192, height=256), Size(width=288, height=384))

TABLES: Final[Mapping[str, Entry]] = {
    "1": Entry(table_1, "the bias of the quantizers, by sampling", ()),
    "2": Entry(decoding.table_2, "the activations of the strongest cells, and the error by k", FACES, SMALLEST, True),
    "3": Entry(comparison.table_3, "WFLW by subset", POINTS_98, single_size=True),
    "4": Entry(comparison.table_4, "300-W by subset and normalisation", ["300w"], single_size=True),
    "5": Entry(comparison.table_5, "COFW by normalisation", ["cofw"], single_size=True),
    "6": Entry(comparison.table_6, "AFLW, all and frontal faces", ["aflw"], single_size=True),
    "7": Entry(ablation.table_7, "the error by the number of training samples", FACES, ablation.SIZES),
    "8": Entry(decoding.table_8, "the error over k by crop size", FACES, ALL_SIZES),
    "9": Entry(decoding.table_9, "the error over k by the width of Gaussian maps", FACES, single_size=True),
    "10": Entry(ablation.table_10, "the error by the boxes of training and of testing", FACES, single_size=True),
    "11": Entry(bodies.table_11, "MPII by backbone and input", ["mpii"], single_size=True, recipe="hrnet_pose"),
    "12": Entry(bodies.table_12, "COCO by backbone and input", ["coco"], COCO_SIZES, recipe="hrnet_pose_coco"),
    "13": Entry(bodies.table_13, "MPII over k", ["mpii"], single_size=True, recipe="hrnet_pose"),
    "14": Entry(bodies.table_14, "COCO over k", ["coco"], COCO_SIZES[:1], True, "hrnet_pose_coco"),
    "activation-sets": Entry(activation_sets, "the error by the cells decoded from (section 4.5)", FACES, SMALLEST),
    "annotation": Entry(annotation, "the error by how annotators click (section 4.6)", ()),
    "quantizers": Entry(heatmaps.quantizers, "the error by quantizer", FACES, OWN_SIZES),
    "heatmaps": Entry(heatmaps.heatmaps, "the error by kind of heatmap", FACES, OWN_SIZES),
    "backbones": Entry(backbones, "the error and the cost by backbone", FACES, tuple(map(Size.square, (256, 128)))),
}
"""By the paper's number, or by a name of their own."""

FIGURES: Final[Mapping[str, Entry]] = {
    "4": Entry(figures.figure_4, "cells drawn by randomized rounding", ()),
    "7": Entry(figures.one_set, "the inter-ocular distances of data sets", FACES),
    "8": Entry(figures.figure_8, "the baseline and the method over the crop size", FACES, ALL_SIZES),
    "10": Entry(figures.figure_10, "good and bad cases", FACES, single_size=True),
}
"""By the paper's number."""
