"""`landmarks-train calibrate-detector`: chooses a detector's threshold on all training images."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

from landmarks.detector import DetectorSpec
from train.commands.arguments import add_data
from train.commands.fit_detector import DATA_HELP
from train.datasets.source import DataSource
from train.detection.evaluate import choose_threshold, make_detector, match_all, metrics_at, torch_network
from train.detection.images import load_images
from train.detection.run import load_detector
from train.runs.files import write_json
from train.runs.folder import REPORT_FILE, read_report

DETAILS: Final = (
    "It replaces the threshold that the run chose on the images held out; for a network that finds faces no better "
    "where it was trained."
)
EXAMPLE: Final = "--run runs/detector --data faces300w:data/faces300w --false-boxes 0.091"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, its data, and the false boxes that are allowed."""
    parser.add_argument("--run", required=True, type=Path, help="folder of a finished run")
    add_data(parser, DATA_HELP)
    parser.add_argument("--false-boxes", type=float, default=0.1, help="allowed in an image, on average [%(default)s]")


def run(
    *,
    run: Path,
    data: str,
    false_boxes: float,
) -> None:
    """Writes the threshold into the run's report and prints it.

    A run chooses its own on the images held out, which are few. This is for a network that finds faces no better in
    the images that it was trained on.
    """
    source = DataSource.parse(data)
    report, (_, model) = read_report(run), load_detector(run)
    images = load_images(source, source.format.train)
    matches = match_all(make_detector(torch_network(model), DetectorSpec()), images, progress=True)
    threshold = choose_threshold(matches, false_boxes)
    chosen = {"threshold": threshold, "train": asdict(metrics_at(matches, threshold))}
    write_json(run / REPORT_FILE, {**report, **chosen})
    print(json.dumps(chosen, indent=2))
