"""The paper's tables, measured on other data: `landmarks-train table NUMBER` trains or reuses the runs it needs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple

from train.datasets.registry import FORMATS
from train.tables.backbones import table_7
from train.tables.bodies import table_13, table_14
from train.tables.context import TableContext
from train.tables.quantization import table_2, table_9, table_10
from train.tables.topk import table_8


class TableEntry(NamedTuple):
    """A table that can be made."""

    make: Callable[[TableContext], None]
    subject: str
    formats: Collection[str]
    """Data sets that it can be made on."""
    any_config: bool = False
    """Whether it compares the configurations of the command line."""


FACES: Final = [name for name, known in FORMATS.items() if known.layout.norm != "size"]

TABLES: Final[Mapping[str, TableEntry]] = {
    "2": TableEntry(table_2, "the error by quantizer", FACES),
    "7": TableEntry(table_7, "the error and the cost by backbone", FACES),
    "8": TableEntry(table_8, "the error over k and crop size, with Fig. 8", FACES, any_config=True),
    "9": TableEntry(table_9, "the error by kind of heatmap", FACES),
    "10": TableEntry(table_10, "the error by the boxes of training and testing", FACES),
    "13": TableEntry(table_13, "COCO keypoints by decoder and k", ["coco"], any_config=True),
    "14": TableEntry(table_14, "MPII by decoder and k", ["mpii"], any_config=True),
}
