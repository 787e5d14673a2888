"""`landmarks-train evaluate-detector`: recall and false boxes of a detector, as JSON."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from landmarks.detection import DetectorFunction
from landmarks.detector import DetectorSpec
from train.commands.arguments import add_data, add_network
from train.commands.fit_detector import DATA_HELP
from train.datasets.source import DataSource
from train.detection.evaluate import make_detector, match_all, metrics_at, recall_by_false_boxes, torch_network
from train.detection.export import open_detector
from train.detection.images import load_images
from train.detection.run import load_detector
from train.runs.folder import read_report

DETAILS: Final = "At its threshold, and the recall at other numbers of false boxes, on the split for testing."
EXAMPLE: Final = "--model model_repo/detector/1/model.onnx --data faces300w:data/faces300w"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The detector, the data and another threshold."""
    add_network(parser)
    add_data(parser, DATA_HELP)
    parser.add_argument("--split", help="a split by the set's own name, instead of the one for testing")
    parser.add_argument("--threshold", type=float, help="instead of the one chosen on held-out training images")


def run(
    *,
    run: Path | None,
    model: Path | None,
    data: str,
    split: str | None,
    threshold: float | None,
) -> None:
    """Prints the figures at the threshold, and the recall at some numbers of false boxes."""
    network, spec = open_network(run, model)
    source = DataSource.parse(data)
    images = load_images(source, split or source.format.test)
    matches = match_all(make_detector(network, spec), images, progress=True)
    chosen = spec.threshold if threshold is None else threshold
    metrics = asdict(metrics_at(matches, chosen))
    print(json.dumps({**metrics, "recall_by_false_boxes": recall_by_false_boxes(matches)}, indent=2))


def open_network(run: Path | None, model: Path | None) -> tuple[DetectorFunction, DetectorSpec]:
    """The detector of an exported file or of a run's folder, with its threshold in the specification."""
    if model:
        network, metadata = open_detector(model)
        return network, metadata.spec
    assert run
    _, trained = load_detector(run)
    return torch_network(trained), replace(DetectorSpec(), threshold=read_report(run)["threshold"])
