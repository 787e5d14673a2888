"""`landmarks-train evaluate-detector`: recall and false boxes of a detector, as JSON."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from typing import Final

from landmarks.detection import DetectorFunction
from landmarks.detector import DetectorSpec
from train.commands.arguments import add_data, add_network
from train.commands.fit_detector import DATA_HELP
from train.datasets.source import DataSource
from train.detection.evaluate import curve, figures, finder, judge_all, torch_maps
from train.detection.export import open_detector
from train.detection.loop import load_detector
from train.detection.photographs import load
from train.runs.folder import read_report

DETAILS: Final = "At its threshold, and the recall at other numbers of false boxes, on the split for testing."
EXAMPLE: Final = "--model model_repo/detector/1/model.onnx --data faces300w:data/faces300w"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The detector, the data and another threshold."""
    add_network(parser)
    add_data(parser, DATA_HELP)
    parser.add_argument("--split", help="a split by the set's own name, instead of the one for testing")
    parser.add_argument("--threshold", type=float, help="instead of the one chosen on held-out training images")


def run(args: argparse.Namespace) -> None:
    """Prints the figures at the threshold, and the recall at some numbers of false boxes."""
    network, spec = open_network(args)
    source = DataSource.parse(args.data)
    images = load(source, args.split or source.format.test)
    judged = judge_all(finder(network, spec), images, progress=True)
    threshold = spec.threshold if args.threshold is None else args.threshold
    print(json.dumps({**asdict(figures(judged, threshold)), "recall_by_false_boxes": curve(judged)}, indent=2))


def open_network(args: argparse.Namespace) -> tuple[DetectorFunction, DetectorSpec]:
    """The detector of `--model` or of `--run`, with its threshold in the specification."""
    if args.model:
        network, metadata = open_detector(args.model)
        return network, metadata.spec
    _, model = load_detector(args.run)
    return torch_maps(model), replace(DetectorSpec(), threshold=read_report(args.run)["threshold"])
