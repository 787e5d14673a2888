"""`landmarks-train fit`: trains a network."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from train.commands.arguments import add_training, add_training_data
from train.config import Config, load_config
from train.datasets.face import BoxKind
from train.datasets.source import parse_mix
from train.datasets.training_data import training_data
from train.engine.distributed import local_device, process_group, rank
from train.engine.landmark_run import LandmarkRun
from train.evaluation.plots import draw_curves, draw_evaluation
from train.runs.folder import METRICS_FILE

DETAILS: Final = (
    "The first data set is shown completely in every epoch, further ones as far as the configuration says. "
    "Without --config it is the recipe of the paper's section 5.3, which wants a GPU; torchrun shares it among several."
)
SLOW: Final = (
    "landmarks-train: there is no CUDA device: {} (of the configuration {}) is trained on the CPU, which is very slow; "
    "--config compact trains a network that suits CPUs"
)
EXAMPLE: Final = "--data faces300w:data/faces300w --config compact --out runs/compact"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, configuration and the run's folder."""
    add_training_data(parser)
    add_training(parser, "h3r", "start from published weights (.pth) or another run's checkpoint")
    parser.add_argument("--backbone", help="replaces the configuration's backbone")
    parser.add_argument("--boxes", choices=["P1", "P2"], help="replaces the configuration's: tight or detector's boxes")
    parser.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="the configuration's schedule in N epochs, stages and milestones in proportion",
    )
    about = (
        "train on N faces of the first data set, drawn by the seed; those of a smaller N are among those of a larger"
    )
    parser.add_argument("--samples", type=int, metavar="N", help=about)


def run(
    *,
    data: list[str],
    conversion: Path | None,
    config: str,
    out: Path,
    resume: bool,
    weights: Path | None,
    seed: int | None,
    workers: int,
    backbone: str | None,
    boxes: BoxKind | None,
    epochs: int | None,
    samples: int | None,
) -> None:
    """Trains to the configured end, as one of several processes where torchrun starts them, and draws the results."""
    replaced = {"seed": seed, "name": backbone, "boxes": boxes, "samples": samples}
    loaded = load_config(Config, config, {key: value for key, value in replaced.items() if value is not None})
    if epochs is not None:
        loaded = loaded.with_epochs(epochs)
    sources = parse_mix(data, conversion)
    faces = training_data(sources, loaded)
    with process_group():
        if rank() == 0 and loaded.name.startswith("hrnet") and local_device().type == "cpu":
            print(SLOW.format(loaded.name, config), file=sys.stderr)
        run = LandmarkRun(loaded, faces, out, workers)
        run.prepare(resume, weights)
        predictions = run.train(sources[0].test_faces())
        if predictions:  # the first of several processes
            draw_curves(out / METRICS_FILE, out / "curves.png")
            draw_evaluation(predictions, loaded.topk, out)
