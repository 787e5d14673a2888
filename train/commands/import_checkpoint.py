"""`landmarks-train import-checkpoint`: makes a run of a released HRNet landmark model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from train.commands.arguments import add_boxes
from train.datasets.source import DataSource
from train.evaluation.calibrate_run import calibrate_run
from train.runs.weights import import_checkpoint

DETAILS: Final = "The run can be evaluated, calibrated and exported like any other."
EXAMPLE: Final = "--weights hrnet_w18_wflw.pth --out runs/released"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, the run's folder, and data to calibrate on."""
    parser.add_argument("--weights", required=True, type=Path, help="the released .pth file")
    parser.add_argument("--out", required=True, type=Path, help="the run's folder")
    parser.add_argument("--input-size", type=int, default=256, help="side of its crops in pixels [%(default)s]")
    parser.add_argument("--data", metavar="FORMAT:PATH", help="a data set to calibrate the covariance on")
    add_boxes(parser)


def run(args: argparse.Namespace) -> None:
    """Imports, calibrates where there is data, and prints what can be done next."""
    source = DataSource.parse(args.data) if args.data else None
    config = import_checkpoint(args.weights, args.out, args.input_size)
    if source:
        calibrate_run(args.out, source, args.boxes)
    calibration = "" if source else "; its covariance is not calibrated: --data does that"
    print(f"imported {config.name} into {args.out}{calibration}")
