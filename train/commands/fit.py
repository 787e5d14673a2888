"""`landmarks-train fit`: trains a network."""

from __future__ import annotations

import argparse
from typing import Final

from train.commands.arguments import add_training, add_training_data
from train.config import Config, load_config
from train.datasets.source import parse_mix
from train.datasets.training_data import training_data
from train.engine.distributed import process_group
from train.engine.landmark_run import LandmarkRun
from train.evaluation.plots import draw_curves, draw_evaluation
from train.runs.folder import METRICS_FILE

DETAILS: Final = (
    "The first data set is shown completely in every epoch, further ones as far as the configuration says. "
    "Without --config it is the paper's recipe, which wants a GPU; torchrun shares it among several."
)
EXAMPLE: Final = "--data faces300w:data/faces300w --config compact --out runs/compact"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, configuration and the run's folder."""
    add_training_data(parser)
    add_training(parser, "h3r", "start from published weights (.pth) or another run's checkpoint")
    parser.add_argument("--backbone", help="replaces the configuration's backbone")


def run(args: argparse.Namespace) -> None:
    """Trains to the configured end, as one of several processes where torchrun starts them, and draws the results."""
    replaced = {"seed": args.seed, "name": args.backbone}
    config = load_config(Config, args.config, {key: value for key, value in replaced.items() if value is not None})
    sources = parse_mix(args.data, args.conversion)
    data = training_data(sources, config)
    with process_group():
        run = LandmarkRun(config, data, args.out, args.workers)
        run.prepare(args.resume, args.weights)
        predictions = run.train(sources[0].test_faces())
        if predictions:  # the first of several processes
            draw_curves(args.out / METRICS_FILE, args.out / "curves.png")
            draw_evaluation(predictions, config.topk, args.out)
