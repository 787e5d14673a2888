"""`landmarks-train table`: one of the paper's tables, or one of the project's own, on the data at hand."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from train.commands.arguments import add_person_boxes
from train.commands.paper import ProtocolArguments, add_protocol, make
from train.tables import TABLES

if TYPE_CHECKING:
    from typing_extensions import Unpack

DETAILS: Final = "Trains what is missing under runs/, evaluates it, and writes Markdown, CSV and a plot."
EXAMPLE: Final = "8 --data faces300w:data/faces300w --backbone compact --epochs 30 --sizes 64 128"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The table's number or name, and how it is made."""
    subjects = "; ".join(f"{number}: {entry.subject}" for number, entry in TABLES.items())
    parser.add_argument("number", choices=list(TABLES), metavar="TABLE", help=subjects)
    parser.add_argument("--data", metavar="FORMAT:PATH", help="the data set; tables 1 and annotation need none")
    add_person_boxes(parser, "of tables 12 and 14")
    add_protocol(parser)


def run(*, number: str, data: str | None, person_boxes: Path | None, **protocol: Unpack[ProtocolArguments]) -> None:
    """Makes the table and prints where it is. Raises DataError for data that it cannot be made on."""
    make(f"table {number}", TABLES[number], [data] if data else [], protocol, person_boxes)
