"""`landmarks-train figure`: one of the paper's figures, on the data at hand."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from train.commands.paper import ProtocolArguments, add_protocol, make
from train.datasets.source import DataSource
from train.tables import FIGURES
from train.tables.figures import figure_7

if TYPE_CHECKING:
    from typing_extensions import Unpack

DETAILS: Final = (
    "Trains what is missing under runs/, evaluates it, and writes a plot and, where it has figures, a table."
)
EXAMPLE: Final = "8 --data faces300w:data/faces300w --backbone compact --epochs 30 --sizes 64 128 --seeds 0 1 2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The figure's number, and how it is made."""
    subjects = "; ".join(f"{number}: {entry.subject}" for number, entry in FIGURES.items())
    parser.add_argument("number", choices=list(FIGURES), metavar="FIGURE", help=subjects)
    about = "the data set; figure 4 needs none, figure 7 takes several"
    parser.add_argument("--data", nargs="+", default=[], metavar="FORMAT:PATH", help=about)
    add_protocol(parser)


def run(*, number: str, data: list[str], **protocol: Unpack[ProtocolArguments]) -> None:
    """Makes the figure and prints where it is. Raises DataError for data that it cannot be made on."""
    if number == "7":
        figure_7([DataSource.parse(each) for each in data], protocol["out"])
        print(f"wrote figure 7 into {protocol['out']}")
        return
    make(f"figure {number}", FIGURES[number], data, protocol)
