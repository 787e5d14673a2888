"""`landmarks-train evaluate`: figures of a network, as JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from landmarks.decoders import DECODERS
from train.commands.arguments import add_conversion, add_data, add_network
from train.datasets.face import AnnotatedFace, BoxKind
from train.datasets.source import DataSource
from train.evaluation.coco_ap import coco_ap
from train.evaluation.plots import draw_evaluation, draw_reliability
from train.evaluation.predict import check_points, predict
from train.evaluation.predictions import Predictions
from train.evaluation.summary import summary
from train.evaluation.trained import Trained, open_export, open_run

DETAILS: Final = (
    "Errors over the split for testing: by k, by group of points, by the usual normalisations, and what the "
    "confidence ellipses hold."
)
EXAMPLE: Final = "--model model_repo/heatmap/1/model.onnx --data faces300w:data/faces300w --topk 1 9 --boxes P1 P2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The network, the data, and how the maps are decoded."""
    add_network(parser)
    add_data(parser)
    add_conversion(parser)
    parser.add_argument("--split", help="a split by the set's own name, instead of the one for testing")
    parser.add_argument("--topk", type=int, nargs="+", help="cells the served decoder averages, one report each")
    parser.add_argument(
        "--decoder",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"other decoders, a report each: {', '.join(DECODERS)}",
    )
    parser.add_argument("--flip", action="store_true", help="average with the mirrored crop, at twice the cost")
    parser.add_argument(
        "--boxes", choices=["P1", "P2"], nargs="+", default=["P2"], help="tight or detector's boxes, or both [P2]"
    )
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw the error curve, best and worst faces")


def run(args: argparse.Namespace) -> None:
    """Prints the figures as JSON: those of the boxes asked for or, where there are both kinds, of each."""
    model = open_run(args.run) if args.run else open_export(args.model)
    source = DataSource.parse(args.data, args.conversion)
    check_points(model.codec, source.layout)
    faces = source.faces(args.split) if args.split else source.test_faces()
    figures = {boxes: evaluate_on(boxes, model, source, faces, args) for boxes in args.boxes}
    print(json.dumps(figures if len(figures) > 1 else figures[args.boxes[0]], indent=2))


def evaluate_on(
    boxes: BoxKind, model: Trained, source: DataSource, faces: list[AnnotatedFace], args: argparse.Namespace
) -> dict[str, Any]:
    """The figures with crops around one kind of boxes; draws them where --pictures names a folder."""
    ks = args.topk or [1, model.codec.topk]
    served = model.codec.topk if model.codec.topk in ks else ks[-1]
    predictions = predict(
        model.network,
        faces,
        model.codec,
        model.crop_scale,
        [*ks, *args.decoder],
        boxes,
        progress=True,
        layout=source.layout,
        correction=model.correction,
        flip=args.flip,
    )
    figures = summary(predictions, [*ks, *args.decoder], served, model.degrees_of_freedom)
    if source.name == "coco":
        add_precision(figures, predictions, source, args.split, served)
    if args.pictures:
        folder = args.pictures / boxes if len(args.boxes) > 1 else args.pictures
        draw_evaluation(predictions, served, folder)
        draw_reliability(predictions, served, model.degrees_of_freedom, folder / "reliability.png")
    return figures


def add_precision(
    figures: dict[str, Any], predictions: Predictions, source: DataSource, split: str | None, served: int
) -> None:
    """COCO's own figures, of the served k and of each decoder by name."""
    figures |= coco_ap(predictions, source.root, split, served)
    for name, values in figures["by_decoder"].items():
        values |= coco_ap(predictions, source.root, split, name)
