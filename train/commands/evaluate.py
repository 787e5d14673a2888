"""`landmarks-train evaluate`: figures of a network, as JSON."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, get_args

from landmarks.decoders import DECODERS
from landmarks.layout import Norm
from landmarks.second_pass import REFINE, Refine
from train.commands.arguments import add_conversion, add_data, add_network, add_person_boxes
from train.datasets.coco import load_detected
from train.datasets.face import BoxKind
from train.datasets.source import DataSource
from train.errors import TrainingError
from train.evaluation.coco_ap import coco_ap
from train.evaluation.plots import SHEET, draw_evaluation, draw_reliability
from train.evaluation.predict import SecondPass, check_points, predict
from train.evaluation.predictions import Predictions
from train.evaluation.readers import Flip
from train.evaluation.regressor import REGRESSOR, Regressor, predict_coordinates
from train.evaluation.summary import norms, regressor_summary, summary
from train.evaluation.trained import Trained, open_trained
from train.samples.augment import Occluder
from train.samples.corruptions import crop_face

DETAILS: Final = (
    "Errors over the split for testing: by k, by group of points, by the usual normalisations, and what the "
    "confidence ellipses hold."
)
EXAMPLE: Final = "--model model_repo/heatmap/1/model.onnx --data faces300w:data/faces300w --topk 1 9 --boxes P1 P2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The network, the data, and how the maps are decoded."""
    add_network(parser, regressors=True)
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
    parser.add_argument(
        "--flip",
        nargs="?",
        choices=get_args(Flip),
        const="points",
        help="average the points found in the mirrored crop, or the maps, at twice the cost [points]",
    )
    parser.add_argument(
        "--boxes", choices=["P1", "P2"], nargs="+", help="tight or detector's boxes, or both [those of training]"
    )
    add_person_boxes(parser, "with --data coco:PATH")
    parser.add_argument(
        "--refine", choices=REFINE, default="never", help="faces that are cropped again by their points [%(default)s]"
    )
    parser.add_argument("--occlude", action="store_true", help="paste something over each face, to measure visibility")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw the error curve, best and worst faces")
    parser.add_argument(
        "--sheet",
        type=int,
        default=SHEET,
        metavar="N",
        help="faces that are drawn of the best and the worst [%(default)s]",
    )
    parser.add_argument(
        "--norm",
        choices=get_args(Norm),
        help="what errors are divided by to order the faces that are drawn [the set's]",
    )
    parser.add_argument("--pictures", dest="plots", type=Path, help=argparse.SUPPRESS)  # the option's former name


def run(
    *,
    run: Path | None,
    model: Path | None,
    regressor: list[Path] | None,
    data: str,
    conversion: Path | None,
    split: str | None,
    topk: list[int] | None,
    decoder: list[str],
    flip: Flip | None,
    refine: Refine,
    occlude: bool,
    boxes: list[BoxKind] | None,
    person_boxes: Path | None,
    plots: Path | None,
    sheet: int,
    norm: Norm | None,
) -> None:
    """Prints the figures as JSON: those of the boxes asked for or, where there are both kinds, of each."""
    source = DataSource.parse(data, conversion)
    if sheet < 1:
        raise TrainingError(f"--sheet must be at least 1, not {sheet}")
    if norm and norm not in norms(source.layout):
        raise TrainingError(f"{source.name} has no {norm}: --norm takes one of {', '.join(norms(source.layout))}")
    if person_boxes:
        if source.name != "coco" or regressor or occlude or plots or boxes:
            raise TrainingError(
                "--person-boxes gives the average precision of a network on COCO: leave out --regressor, --occlude, "
                "--plots and --boxes, and give --data coco:PATH"
            )
        faces, boxes = load_detected(source.root, split or source.format.test, person_boxes), ["P2"]
    else:
        faces = source.faces(split) if split else source.test_faces()
    if regressor:
        predictions = predict_coordinates([Regressor(path, source.layout) for path in regressor], faces, source.layout)
        print(json.dumps(regressor_summary(predictions), indent=2))
        if plots:
            draw_evaluation(predictions, REGRESSOR, plots, sheet, norm)
        return
    network = open_trained(run, model)
    check_points(network.codec, source.layout)
    ks = topk or [1, network.codec.topk]
    served = network.codec.topk if network.codec.topk in ks else ks[-1]
    figures: dict[BoxKind, dict[str, Any]] = {}
    if occlude and refine != "never":
        raise TrainingError("--occlude pastes over the first crop of a face: leave out --refine")
    kinds = boxes or [network.boxes]
    for kind in kinds:
        occluder = Occluder() if occlude else None
        predictions = predict(
            network.network,
            faces,
            network.codec,
            network.crop_scale,
            [*ks, *decoder],
            kind,
            progress=True,
            layout=source.layout,
            correction=network.correction,
            flip=flip,
            second=second_pass(network, refine),
            cut=occluder or crop_face,
            plausibility=network.plausibility,
        )
        if occluder:
            predictions = replace(predictions, covered=occluder.covered)
        if person_boxes:  # nobody knows where the points of these are
            figures[kind] = {"people": len(faces), "by_decoder": {name: {} for name in decoder}}
        else:
            figures[kind] = summary(predictions, [*ks, *decoder], served, network.degrees_of_freedom)
        if source.name == "coco":
            add_precision(figures[kind], predictions, source, split, served)
        if plots:
            folder = plots / kind if len(kinds) > 1 else plots
            draw_evaluation(predictions, served, folder, sheet, norm)
            draw_reliability(predictions, served, network.degrees_of_freedom, folder / "reliability.png")
    print(json.dumps(figures if len(figures) > 1 else figures[kinds[0]], indent=2))


def second_pass(network: Trained, refine: Refine) -> SecondPass | None:
    """The second pass of a network. Raises TrainingError where it is asked for but not stated."""
    if refine == "never":
        return None
    if network.points_crop is None:
        raise TrainingError(
            "the network does not state how faces are cropped by their points: train or export it again"
        )
    return SecondPass(network.points_crop, refine)


def add_precision(
    figures: dict[str, Any], predictions: Predictions, source: DataSource, split: str | None, served: int
) -> None:
    """COCO's own figures, of the served k and of each decoder by name."""
    figures |= coco_ap(predictions, source.root, split, served)
    for name, values in figures["by_decoder"].items():
        values |= coco_ap(predictions, source.root, split, name)
