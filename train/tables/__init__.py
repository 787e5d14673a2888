"""The paper's tables on the data at hand: `landmarks-train table NUMBER` trains or reuses what a table needs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from train.datasets import FORMATS, DataSource
from train.tables.quantization import table_2, table_9
from train.tables.topk import table_8
from train.tables.workshop import SIZES, Workshop

TABLES: Final[Mapping[str, tuple[Callable[[Workshop], None], str]]] = {
    "2": (table_2, "the error by quantizer"),
    "8": (table_8, "the error over k and crop size, with Fig. 8"),
    "9": (table_9, "the error by kind of heatmap"),
}


def add_commands(commands: Any) -> None:
    """`landmarks-train table`."""
    command: argparse.ArgumentParser = commands.add_parser("table", help="one of the paper's tables, on your data")
    subjects = "; ".join(f"{number}: {subject}" for number, (_, subject) in TABLES.items())
    command.add_argument("number", choices=list(TABLES), help=subjects)
    names = ", ".join(FORMATS)
    command.add_argument("--data", required=True, metavar="FORMAT:PATH", help=f"a data set; FORMAT is one of {names}")
    command.add_argument("--runs", type=Path, default=Path("runs"), help="where runs lie and are made [%(default)s]")
    command.add_argument("--out", type=Path, default=Path("docs/results"), help="folder of the table [%(default)s]")
    command.add_argument("--sizes", type=int, nargs="+", choices=SIZES, default=SIZES, help="crop sizes [all]")
    command.add_argument("--reuse-only", action="store_true", help="fail rather than train what is missing")
    command.set_defaults(act=run)


def run(args: argparse.Namespace) -> None:
    """Makes the table and says where it is."""
    make, _ = TABLES[args.number]
    sizes = tuple(sorted(args.sizes))
    make(Workshop(DataSource.parse(args.data), args.runs, args.out, not args.reuse_only, sizes))
    print(f"wrote table {args.number} into {args.out}")
