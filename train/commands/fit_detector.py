"""`landmarks-train fit-detector`: trains a face detector."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from train.commands.arguments import add_training
from train.config import load_config
from train.datasets.source import DataSource
from train.detection.config import DetectorConfig
from train.detection.images import load_images
from train.detection.run import DetectorRun

DETAILS: Final = (
    "On mosaics of images that have a box for every face, and of images without faces (see gather-pictures, "
    "mine-detector). The first data set is shown completely in every epoch, further ones as far as the configuration "
    "says."
)
EXAMPLE: Final = "--data faces300w:data/faces300w faces300w:data/pictures --out runs/detector"
DATA_HELP: Final = "a data set with a box for every face, as faces300w:PATH"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, configuration and the run's folder."""
    about = f"{DATA_HELP}; of several, all are trained on, and the first is tested on"
    parser.add_argument("--data", required=True, nargs="+", metavar="FORMAT:PATH", help=about)
    add_training(parser, "detector", "start from another run's checkpoint")


def run(
    *,
    data: list[str],
    config: str,
    out: Path,
    resume: bool,
    weights: Path | None,
    seed: int | None,
    workers: int,
) -> None:
    """Trains to the configured end."""
    loaded = load_config(DetectorConfig, config, {} if seed is None else {"seed": seed})
    sources = [DataSource.parse(text) for text in data]
    sets = [load_images(source, source.format.train) for source in sources]
    run = DetectorRun(loaded, [source.label for source in sources], sets, out, workers)
    run.prepare(resume, weights)
    run.train(load_images(sources[0], sources[0].format.test))
