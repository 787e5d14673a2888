"""`landmarks-train`: fit, evaluate, export."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landmarks.codec import CodecError
from landmarks.metadata import MetadataError
from landmarks.repository import RepositoryError
from landmarks.runtime import NetworkError
from train.commands.command_line import add_command
from train.config import Config, load_config
from train.datasets import FORMATS, DataSource, parse_mix
from train.datasets.conversion import add_commands as add_lift_commands
from train.detection.commands import add_commands as add_detection_commands
from train.errors import TrainError
from train.evaluation.calibration import add_commands as add_calibration_commands
from train.evaluation.robustness import add_commands as add_robustness_commands
from train.export.import_onnx import add_commands as add_reopen_commands
from train.export.quantize import add_commands as add_quantize_commands
from train.pose_synthesis.command import add_commands as add_turn_commands
from train.runs.weights import add_commands as add_checkpoint_commands
from train.tables import add_commands as add_table_commands

if TYPE_CHECKING:
    from train.datasets.face import BoxKind, Face
    from train.evaluation.predict import Predictions
    from train.evaluation.trained import Trained
    from train.runs.record import TrainingData

DATA_HELP = f"a data set as FORMAT:PATH, where FORMAT is one of {', '.join(FORMATS)}"

EPILOG = """examples:
  landmarks-train fit --data faces300w:data/faces300w --config compact --out runs/compact
  torchrun --nproc-per-node 4 -m train fit --data wflw:data/wflw --weights hrnet_w18.pth --out runs/hrnet_w18
  landmarks-train evaluate --run runs/compact --data faces300w:data/faces300w --topk 1 9 --boxes P2
  landmarks-train export --run runs/compact --repository model_repo
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="landmarks-train",
        description="Train, evaluate and export landmark networks by heatmap regression with randomized rounding.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True)

    command = add_command(
        commands,
        "fit",
        "train a network; Ctrl-C stops it, --resume goes on",
        "The first data set is shown whole in every epoch, further ones as far as the configuration says. "
        "Without --config it is the paper's recipe, which wants a GPU; torchrun shares it among several.",
        "--data faces300w:data/faces300w --config compact --out runs/compact",
    )
    add_mix_arguments(command)
    command.add_argument("--config", default="h3r", help="a TOML file, or a shipped one's name [%(default)s]")
    command.add_argument("--backbone", help="replaces the configuration's backbone")
    command.add_argument("--out", required=True, type=Path, help="the run's folder: checkpoint, metrics, final report")
    command.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    command.add_argument("--weights", type=Path, help="start from published weights (.pth) or another run's checkpoint")
    command.add_argument("--seed", type=int, help="replaces the configuration's seed")
    command.add_argument("--workers", type=int, default=1, help="processes that prepare samples [%(default)s]")
    command.set_defaults(act=fit)

    command = add_command(
        commands,
        "evaluate",
        "figures of a run or of an exported model, as JSON",
        "Errors over the split for testing: by k, by group of points, by the usual normalisations, and what the "
        "confidence ellipses hold.",
        "--model model_repo/heatmap/1/model.onnx --data faces300w:data/faces300w --topk 1 9 --boxes P1 P2",
    )
    network = command.add_mutually_exclusive_group(required=True)
    network.add_argument("--run", type=Path, help="folder of a run")
    network.add_argument("--model", type=Path, help="an exported ONNX file")
    command.add_argument("--data", required=True, metavar="FORMAT:PATH", help=DATA_HELP)
    command.add_argument("--lift", type=Path, help="make 98 points of a set's 68, by a file of fit-lift")
    command.add_argument("--split", help="a split by the set's own name, instead of the one for testing")
    command.add_argument("--topk", type=int, nargs="+", help="cells the served decoder averages, one report each")
    command.add_argument(
        "--decoder",
        nargs="+",
        default=[],
        metavar="NAME",
        help="others: argmax, quarter, 3x3, all, topK; a report each",
    )
    command.add_argument("--flip", action="store_true", help="average with the mirrored crop, at twice the cost")
    command.add_argument(
        "--boxes", choices=["P1", "P2"], nargs="+", default=["P2"], help="tight or detector's boxes, or both [P2]"
    )
    command.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw the error curve, best and worst faces")
    command.set_defaults(act=evaluate)

    command = add_command(
        commands,
        "export",
        "write a finished run into a Triton model repository",
        "The network becomes ONNX with its codec and its golden points in it, is checked against PyTorch, and is "
        "stamped into the configurations.",
        "--run runs/compact --repository model_repo",
    )
    command.add_argument("--run", required=True, type=Path, help="folder of the run")
    command.add_argument("--repository", type=Path, default=Path("model_repo"), help="the repository [%(default)s]")
    command.set_defaults(act=export)

    command = add_command(
        commands,
        "fit-shape",
        "a last layer for a finished run: points moved by where the others are",
        "It is solved by least squares on the data that the run was trained on, in minutes, and makes another "
        "run of it.",
        "--run runs/compact --data faces300w:data/faces300w --out runs/shaped",
    )
    add_mix_arguments(command)
    command.add_argument("--run", required=True, type=Path, help="folder of the finished run")
    command.add_argument("--out", required=True, type=Path, help="folder of the run that it becomes")
    command.set_defaults(act=fit_shape)

    add_calibration_commands(commands)
    add_lift_commands(commands)
    add_checkpoint_commands(commands)
    add_quantize_commands(commands)
    add_reopen_commands(commands)
    add_robustness_commands(commands)
    add_table_commands(commands)
    add_detection_commands(commands)
    add_turn_commands(commands)
    return top


def add_mix_arguments(command: argparse.ArgumentParser) -> None:
    """What `training_data` is made of."""
    command.add_argument(
        "--data",
        required=True,
        nargs="+",
        metavar="FORMAT:PATH",
        help=f"{DATA_HELP}; of several, all are trained on, and the first is tested on",
    )
    command.add_argument("--lift", type=Path, help="make 98 points of a set's 68, by a file of fit-lift")


def fit(args: argparse.Namespace) -> None:
    """Trains to the configured end, as one of several processes where torchrun starts them."""
    from train.engine.distributed import joined
    from train.engine.loop import Run
    from train.evaluation.plots import draw_curves, draw_evaluation
    from train.runs.record import METRICS_FILE

    replaced = {"seed": args.seed, "name": args.backbone}
    config = load_config(Config, args.config, {key: value for key, value in replaced.items() if value is not None})
    sources = parse_mix(args.data, args.lift)
    data = training_data(sources, config)
    with joined():
        run = Run(config, data, args.out, args.workers)
        run.begin(args.resume, args.weights)
        predictions = run.train(sources[0].test_faces())
        if predictions:  # the first of several processes
            draw_curves(args.out / METRICS_FILE, args.out / "curves.png")
            draw_evaluation(predictions, config.topk, args.out)


def fit_shape(args: argparse.Namespace) -> None:
    """Fits the layer to what the run was trained on, and draws what the network then finds."""
    from train import shape_refinement as shape
    from train.evaluation.plots import draw_evaluation
    from train.evaluation.trained import load_run

    sources, config = parse_mix(args.data, args.lift), load_run(args.run)[0]
    predictions = shape.fit_shape(args.run, training_data(sources, config), sources[0].test_faces(), args.out)
    draw_evaluation(predictions, config.topk, args.out)


def training_data(sources: list[DataSource], config: Config) -> TrainingData:
    """The faces of the first source, the further ones, and of neither those of photographs that are held out."""
    from train.evaluation.calibration import split_by_name, without
    from train.runs.record import TrainingData

    faces, out = split_by_name(sources[0].train_faces(), config.held_out)
    extra = without([face for source in sources[1:] for face in source.train_faces()], out)
    return TrainingData(tuple(dict.fromkeys(s.name for s in sources)), faces, sources[0].layout, extra)


def evaluate(args: argparse.Namespace) -> None:
    """Prints the figures as JSON: those of the boxes asked for or, where there are both kinds, of each."""
    from train.evaluation.predict import check_points
    from train.evaluation.trained import open_export, open_run

    model = open_run(args.run) if args.run else open_export(args.model)
    source = DataSource.parse(args.data, args.lift)
    check_points(model.codec, source.layout)
    faces = source.faces(args.split) if args.split else source.test_faces()
    figures = {boxes: evaluate_on(boxes, model, source, faces, args) for boxes in args.boxes}
    print(json.dumps(figures if len(figures) > 1 else figures[args.boxes[0]], indent=2))


def evaluate_on(
    boxes: BoxKind, model: Trained, source: DataSource, faces: list[Face], args: argparse.Namespace
) -> dict[str, Any]:
    """The figures with crops about one kind of boxes; pictures where they are asked for."""
    from train.evaluation.predict import predict, summary

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
        from train.evaluation.plots import draw_evaluation, draw_reliability

        folder = args.pictures / boxes if len(args.boxes) > 1 else args.pictures
        draw_evaluation(predictions, served, folder)
        draw_reliability(predictions, served, model.degrees_of_freedom, folder / "reliability.png")
    return figures


def add_precision(
    figures: dict[str, Any], predictions: Predictions, source: DataSource, split: str | None, served: int
) -> None:
    """COCO's own figures, of the served k and of each decoder by name."""
    from train.evaluation.coco_ap import coco_ap

    figures |= coco_ap(predictions, source.root, split, served)
    for name, values in figures["by_decoder"].items():
        values |= coco_ap(predictions, source.root, split, name)


def export(args: argparse.Namespace) -> None:
    """Exports and says what was written."""
    from train.export.torch_to_onnx import export as export_run

    metadata = export_run(args.run, args.repository)
    print(f"exported {metadata.name} (run {metadata.run_id}) into {args.repository}")


def main() -> int:
    """Runs the command; a failure the user can mend ends with one line, not a traceback."""
    args = parser().parse_args()
    try:
        args.act(args)
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in ("landmarks", "train"):
            raise
        packages = "pip install -e '.[train]' in the project's checkout"
        print(f"landmarks-train: {error.name} is not installed: {packages}", file=sys.stderr)
        return 1
    except (TrainError, CodecError, MetadataError, NetworkError, RepositoryError) as error:
        print(f"landmarks-train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        resumable = f"; {args.command} --resume goes on from the last finished epoch" if "resume" in args else ""
        print(f"\nlandmarks-train: stopped{resumable}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
