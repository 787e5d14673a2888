"""`landmarks-train table`: one of the paper's tables, on the data at hand."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from train.commands.arguments import add_data
from train.datasets.source import DataSource
from train.errors import ConfigError, DataError
from train.tables import TABLES
from train.tables.context import SIZES, TableContext

DETAILS: Final = "Trains what is missing under runs/, evaluates it, and writes Markdown, CSV and a plot."
EXAMPLE: Final = "8 --data faces300w:data/faces300w"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The table's number, the data, the folders, and what is compared."""
    subjects = "; ".join(f"{number}: {entry.subject}" for number, entry in TABLES.items())
    parser.add_argument("number", choices=list(TABLES), help=subjects)
    add_data(parser)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs [%(default)s]")
    parser.add_argument("--out", type=Path, default=Path("runs/tables"), help="folder of the table [%(default)s]")
    parser.add_argument("--sizes", type=int, nargs="+", choices=SIZES, default=SIZES, help="crop sizes [all]")
    chosen = ", ".join(number for number, entry in TABLES.items() if entry.any_config)
    parser.add_argument(
        "--config", nargs="+", default=[], help=f"configurations to compare, instead of the shipped ones ({chosen})"
    )
    parser.add_argument("--reuse-only", action="store_true", help="fail rather than train what is missing")


def run(
    *,
    number: str,
    data: str,
    runs: Path,
    out: Path,
    sizes: Sequence[int],
    config: list[str],
    reuse_only: bool,
) -> None:
    """Makes the table and prints where it is. Raises DataError for data that it cannot be made on."""
    entry, source = TABLES[number], DataSource.parse(data)
    if source.name not in entry.formats:
        raise DataError(f"table {number} is made on {' or '.join(entry.formats)}, not on {source.name}")
    if config and not entry.any_config:
        raise ConfigError(f"table {number} trains by its own protocol: leave --config out")
    entry.make(TableContext(source, runs, out, not reuse_only, tuple(sorted(sizes)), tuple(config)))
    print(f"wrote table {number} into {out}")
