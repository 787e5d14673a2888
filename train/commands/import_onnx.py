"""`landmarks-train import-onnx`: makes a run of an exported network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from train.commands.arguments import add_conversion, add_data
from train.datasets.source import DataSource
from train.errors import TrainingError
from train.export.import_onnx import SAMPLES, import_onnx

DETAILS: Final = (
    "The statistics of batch normalisation, which the export folded into the convolutions, are measured on the data "
    "set's training faces. Start from the run with fit --weights, or calibrate it for data of your own."
)
EXAMPLE: Final = "--model model_repo/heatmap/1/model.onnx --data faces300w:data/faces300w --out runs/shipped"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, the data and the run's folder."""
    parser.add_argument("--model", required=True, type=Path, help="an exported ONNX file")
    add_data(parser, "a data set to measure on")
    add_conversion(parser)
    parser.add_argument("--out", required=True, type=Path, help="the run's folder")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="training faces to measure on [%(default)s]")


def run(
    *,
    model: Path,
    data: str,
    conversion: Path | None,
    out: Path,
    samples: int,
) -> None:
    """Imports the network and prints what can be done next."""
    if samples < 1:
        raise TrainingError(f"--samples must be at least 1, not {samples}")
    config = import_onnx(model, DataSource.parse(data, conversion), out, samples)
    print(f"{config.name} is now the run {out}: fit --weights {out / 'checkpoint.pt'} starts from it")
