"""`landmarks-train mine-detector`: finds what a detector takes for faces in pictures without people."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from train.commands.arguments import add_data, add_network
from train.commands.evaluate_detector import open_network
from train.datasets.source import DataSource
from train.detection.evaluate import make_detector
from train.detection.mining import mine

DETAILS: Final = "fit-detector shows these places more often than others. Images are linked, not copied."
EXAMPLE: Final = "--model model_repo/detector/1/model.onnx --data faces300w:data/pictures --out data/mined"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The detector, the pictures and the new data set's folder."""
    add_network(parser)
    add_data(parser, "pictures without people, as gather-pictures writes them: faces300w:PATH")
    parser.add_argument("--out", required=True, type=Path, help="the new data set's folder")


def run(
    *,
    run: Path | None,
    model: Path | None,
    data: str,
    out: Path,
) -> None:
    """Writes the set and prints how many places it has."""
    network, spec = open_network(run, model)
    print(f"{mine(make_detector(network, spec), DataSource.parse(data), out)} places in {out}")
