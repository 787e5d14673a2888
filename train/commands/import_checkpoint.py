"""`landmarks-train import-checkpoint`: makes a run of a landmark model released with the paper's code."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from landmarks.size import Size
from train.commands.arguments import crop_size
from train.datasets.face import BoxKind
from train.datasets.source import DataSource
from train.evaluation.calibrate_run import calibrate_run
from train.runs.weights import import_checkpoint

DETAILS: Final = "The run can be evaluated, calibrated and exported like any other."
EXAMPLE: Final = "--weights hrnet_w18_wflw.pth --out runs/released"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, the run's folder, and data to calibrate on."""
    parser.add_argument("--weights", required=True, type=Path, help="the released .pth file")
    parser.add_argument("--out", required=True, type=Path, help="the run's folder")
    about = "its crops: the side of a square, or height x width [256x192 for poses of COCO, else 256]"
    parser.add_argument("--input-size", type=crop_size, metavar="PIXELS", help=about)
    parser.add_argument("--data", metavar="FORMAT:PATH", help="a data set to calibrate the covariance on")
    about = "the boxes that it was trained about: tight ones, or a detector's [%(default)s]"
    parser.add_argument("--boxes", choices=["P1", "P2"], default="P2", help=about)


def run(
    *,
    weights: Path,
    out: Path,
    input_size: Size | None,
    data: str | None,
    boxes: BoxKind,
) -> None:
    """Imports, calibrates where there is data, and prints what can be done next."""
    source = DataSource.parse(data) if data else None
    config = import_checkpoint(weights, out, input_size, boxes)
    if source:
        calibrate_run(out, [source])
    calibration = "" if source else "; its covariance is not calibrated: --data does that"
    print(f"imported {config.name} into {out}{calibration}")
