"""What `table` and `figure` have in common: how runs are trained, and how an entry of `train.tables` is made."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypedDict

from landmarks.size import Size
from train.commands.arguments import crop_size
from train.config import Config, load_config
from train.datasets.source import DataSource
from train.errors import ConfigError, DataError
from train.tables import Entry
from train.tables.context import TableContext

NOWHERE: Final = DataSource("faces300w", Path())
"""The data of what needs none."""


class ProtocolArguments(TypedDict):
    """The arguments of `add_protocol`: the folders, and how runs are trained."""

    runs: Path
    out: Path
    sizes: Sequence[Size] | None
    config: str | None
    backbone: str | None
    epochs: int | None
    seeds: Sequence[int]
    run: Path | None
    weights: Path | None
    reuse_only: bool


def add_protocol(parser: argparse.ArgumentParser) -> None:
    """Declares `ProtocolArguments`."""
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs [%(default)s]")
    parser.add_argument("--out", type=Path, default=Path("runs/tables"), help="folder of the results [%(default)s]")
    about = "crop sizes: sides of squares, or height x width as in 256x192 [those of the paper]"
    parser.add_argument("--sizes", type=crop_size, nargs="+", metavar="PIXELS", help=about)
    about = "the recipe: a TOML file, or a shipped one [h3r; of MPII's tables hrnet_pose, of COCO's hrnet_pose_coco]"
    parser.add_argument("--config", help=about)
    parser.add_argument("--backbone", help="replaces the recipe's backbone")
    parser.add_argument("--epochs", type=int, metavar="N", help="the recipe's schedule in N epochs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N", help="averaged over [0]")
    parser.add_argument("--run", type=Path, help="a finished run to measure, where a single one is measured")
    parser.add_argument("--weights", type=Path, help="start runs from published weights (.pth) or a checkpoint")
    about = "train nothing: figures whose run is missing are left out"
    parser.add_argument("--reuse-only", action="store_true", help=about)


def make(
    name: str, entry: Entry, data: Sequence[str], protocol: ProtocolArguments, person_boxes: Path | None = None
) -> None:
    """Makes an entry and prints where it is. `person_boxes`: a detector's, for the tables of COCO.

    Raises DataError for data that it cannot be made on, ConfigError for a recipe or sizes that it cannot be made with.
    """
    sources = [DataSource.parse(each) for each in data]
    if entry.formats and len(sources) != 1:
        raise DataError(f"{name} is made on a data set: add --data FORMAT:PATH")
    for source in sources:
        if entry.formats and source.name not in entry.formats:
            raise DataError(f"{name} is made on {' or '.join(entry.formats)}, not on {source.name}")
    if person_boxes and "coco" not in entry.formats:
        raise ConfigError(f"{name} is not about people in COCO: leave out --person-boxes")
    sizes = tuple(protocol["sizes"] or entry.sizes)
    if entry.single_size and len(sizes) != 1:
        raise ConfigError(f"{name} is of one crop size: --sizes takes one number")
    backbone, epochs = protocol["backbone"], protocol["epochs"]
    config = load_config(Config, protocol["config"] or entry.recipe, {"name": backbone} if backbone else {})
    if epochs is not None:
        config = config.with_epochs(epochs)
    entry.make(
        TableContext(
            sources[0] if sources else NOWHERE,
            protocol["runs"],
            protocol["out"],
            not protocol["reuse_only"],
            config,
            sizes,
            tuple(protocol["seeds"]),
            protocol["run"],
            protocol["weights"],
            person_boxes,
        )
    )
    print(f"wrote {name} into {protocol['out']}")
