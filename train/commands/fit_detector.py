"""`landmarks-train fit-detector`: trains a face detector."""

from __future__ import annotations

import argparse
from typing import Final

from train.commands.arguments import add_data, add_training
from train.config import load_config
from train.datasets.source import DataSource
from train.detection.config import DetectorConfig
from train.detection.images import load_images
from train.detection.run import DetectorRun

DETAILS: Final = "On mosaics of images that have a box for every face."
EXAMPLE: Final = "--data faces300w:data/faces300w --out runs/detector"
DATA_HELP: Final = "a data set with a box for every face, as faces300w:PATH"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, configuration and the run's folder."""
    add_data(parser, DATA_HELP)
    add_training(parser, "detector", "start from another run's checkpoint")


def run(args: argparse.Namespace) -> None:
    """Trains to the configured end."""
    config = load_config(DetectorConfig, args.config, {} if args.seed is None else {"seed": args.seed})
    source = DataSource.parse(args.data)
    images, test = (load_images(source, split) for split in (source.format.train, source.format.test))
    run = DetectorRun(config, (source.name,), images, args.out, args.workers)
    run.prepare(args.resume, args.weights)
    run.train(test)
