"""`landmarks-train fit-shape`: adds a last layer that corrects each point from the positions of the others."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from train.commands.arguments import add_training_data
from train.datasets.source import parse_mix
from train.datasets.training_data import training_data
from train.evaluation.plots import draw_evaluation
from train.evaluation.trained import load_run
from train.shape_refinement import fit_shape

DETAILS: Final = (
    "It is fitted by least squares to the data that the run was trained on, in minutes, and the result is another run."
)
EXAMPLE: Final = "--run runs/compact --data faces300w:data/faces300w --out runs/shaped"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, the run and the folder of the new run."""
    add_training_data(parser)
    parser.add_argument("--run", required=True, type=Path, help="folder of the finished run")
    parser.add_argument("--out", required=True, type=Path, help="folder of the run that it becomes")


def run(
    *,
    data: list[str],
    conversion: Path | None,
    run: Path,
    out: Path,
) -> None:
    """Fits the layer and draws what the network then finds."""
    sources = parse_mix(data, conversion)
    config, _ = load_run(run)
    predictions = fit_shape(run, training_data(sources, config), sources[0].test_faces(), out)
    draw_evaluation(predictions, config.topk, out)
