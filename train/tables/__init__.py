"""The paper's tables on the data at hand: `landmarks-train table NUMBER` trains or reuses what a table needs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from train.commands.command_line import add_command
from train.datasets import FORMATS, DataSource
from train.errors import ConfigError, DataError
from train.tables.backbones import table_7
from train.tables.bodies import table_13, table_14
from train.tables.quantization import table_2, table_9, table_10
from train.tables.topk import table_8
from train.tables.workshop import SIZES, Workshop


class Entry(NamedTuple):
    """A table that can be made."""

    make: Callable[[Workshop], None]
    subject: str
    formats: Collection[str]
    """Data sets that it can be made on."""
    any_config: bool = False
    """Whether it compares whatever configurations it is given."""


FACES: Final = [name for name, known in FORMATS.items() if known.layout.norm != "size"]

TABLES: Final[Mapping[str, Entry]] = {
    "2": Entry(table_2, "the error by quantizer", FACES),
    "7": Entry(table_7, "the error and the cost by backbone", FACES),
    "8": Entry(table_8, "the error over k and crop size, with Fig. 8", FACES, any_config=True),
    "9": Entry(table_9, "the error by kind of heatmap", FACES),
    "10": Entry(table_10, "the error by the boxes of training and testing", FACES),
    "13": Entry(table_13, "COCO keypoints by decoder and k", ["coco"], any_config=True),
    "14": Entry(table_14, "MPII by decoder and k", ["mpii"], any_config=True),
}


def add_commands(commands: Any) -> None:
    """`landmarks-train table`."""
    command = add_command(
        commands,
        "table",
        "one of the paper's tables, on your data",
        "Trains what is missing under runs/, evaluates it, and writes Markdown, CSV and a plot.",
        "8 --data faces300w:data/faces300w",
    )
    subjects = "; ".join(f"{number}: {entry.subject}" for number, entry in TABLES.items())
    command.add_argument("number", choices=list(TABLES), help=subjects)
    names = ", ".join(FORMATS)
    command.add_argument("--data", required=True, metavar="FORMAT:PATH", help=f"a data set; FORMAT is one of {names}")
    command.add_argument("--runs", type=Path, default=Path("runs"), help="where runs lie and are made [%(default)s]")
    command.add_argument("--out", type=Path, default=Path("docs/results"), help="folder of the table [%(default)s]")
    command.add_argument("--sizes", type=int, nargs="+", choices=SIZES, default=SIZES, help="crop sizes [all]")
    chosen = ", ".join(number for number, entry in TABLES.items() if entry.any_config)
    command.add_argument(
        "--config", nargs="+", default=[], help=f"configurations to compare, instead of the shipped ones ({chosen})"
    )
    command.add_argument("--reuse-only", action="store_true", help="fail rather than train what is missing")
    command.set_defaults(act=run)


def run(args: argparse.Namespace) -> None:
    """Makes the table and says where it is. Raises DataError for data that it cannot be made on."""
    entry, source = TABLES[args.number], DataSource.parse(args.data)
    if source.name not in entry.formats:
        raise DataError(f"table {args.number} is made on {' or '.join(entry.formats)}, not on {source.name}")
    if args.config and not entry.any_config:
        raise ConfigError(f"table {args.number} trains by its own protocol: leave --config out")
    sizes = tuple(sorted(args.sizes))
    entry.make(Workshop(source, args.runs, args.out, not args.reuse_only, sizes, tuple(args.config)))
    print(f"wrote table {args.number} into {args.out}")
