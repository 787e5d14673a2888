"""`landmarks-train fit-detector`, `calibrate-detector`, `evaluate-detector` and `export-detector`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from train.commands.command_line import add_command
from train.config import load_config
from train.datasets import FORMATS, DataSource
from train.detection.config import DetectorConfig

if TYPE_CHECKING:
    from landmarks.detection import DetectorSpec, Network

DATA_HELP = "a data set with a box for every face, as faces300w:PATH"


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the commands to the subparsers of `landmarks-train`."""
    command = add_command(
        commands,
        "fit-detector",
        "train a face detector; stop with Ctrl-C, go on with --resume",
        "On mosaics of photographs that have a box for every face.",
        "--data faces300w:data/faces300w --out runs/detector",
    )
    command.add_argument("--data", required=True, metavar="FORMAT:PATH", help=DATA_HELP)
    command.add_argument("--config", default="detector", help="a TOML file, or a shipped one's name [%(default)s]")
    command.add_argument("--out", required=True, type=Path, help="the run's folder: checkpoint, metrics, final report")
    command.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    command.add_argument("--weights", type=Path, help="start from another run's checkpoint")
    command.add_argument("--seed", type=int, help="replaces the configuration's seed")
    command.add_argument("--workers", type=int, default=1, help="processes that compose pictures [%(default)s]")
    command.set_defaults(act=fit)

    command = add_command(
        commands,
        "calibrate-detector",
        "choose a run's threshold on all training photographs",
        "In place of the one that the run chose on the photographs held out; for a network that finds faces no "
        "better where it was trained.",
        "--run runs/detector --data faces300w:data/faces300w --false-boxes 0.091",
    )
    command.add_argument("--run", required=True, type=Path, help="folder of a finished run")
    command.add_argument("--data", required=True, metavar="FORMAT:PATH", help=DATA_HELP)
    command.add_argument(
        "--false-boxes", type=float, default=0.1, help="allowed in a photograph, on average [%(default)s]"
    )
    command.set_defaults(act=calibrate)

    command = add_command(
        commands,
        "evaluate-detector",
        "recall and false boxes of a run or a model, as JSON",
        "At its threshold, and the recall at other numbers of false boxes, on the split for testing.",
        "--model model_repo/detector/1/model.onnx --data faces300w:data/faces300w",
    )
    network = command.add_mutually_exclusive_group(required=True)
    network.add_argument("--run", type=Path, help="folder of a finished run")
    network.add_argument("--model", type=Path, help="an exported ONNX file")
    command.add_argument("--data", required=True, metavar="FORMAT:PATH", help=DATA_HELP)
    command.add_argument("--split", help="a split by the set's own name, instead of the one for testing")
    command.add_argument("--threshold", type=float, help="instead of the one chosen on held-out training photographs")
    command.set_defaults(act=evaluate)

    command = add_command(
        commands,
        "export-detector",
        "write a finished run's detector into a model repository",
        "Checked against PyTorch, with the golden face in it, and stamped into its configuration.",
        "--run runs/detector --repository model_repo",
    )
    command.add_argument("--run", required=True, type=Path, help="folder of the run")
    command.add_argument("--repository", type=Path, default=Path("model_repo"), help="the repository [%(default)s]")
    command.set_defaults(act=export)


def fit(args: argparse.Namespace) -> None:
    """Trains to the configured end."""
    from train.detection.loop import DetectorRun
    from train.detection.photographs import load

    config = load_config(DetectorConfig, args.config, {} if args.seed is None else {"seed": args.seed})
    source = DataSource.parse(args.data)
    photographs, test = (load(source, split) for split in (FORMATS[source.name].train, FORMATS[source.name].test))
    run = DetectorRun(config, (source.name,), photographs, args.out, args.workers)
    run.begin(args.resume, args.weights)
    run.train(test)


def calibrate(args: argparse.Namespace) -> None:
    """Writes the threshold into the run's report.

    A run chooses its own on the photographs held out, which are few. This is for a network that finds faces no better
    in those that it was trained on.
    """
    from landmarks.detection import DetectorSpec
    from train.detection.evaluate import choose_threshold, figures, finder, judge_all, torch_maps
    from train.detection.loop import load_detector
    from train.detection.photographs import load
    from train.runs.record import REPORT_FILE, read_report
    from train.runs.weights import write_json

    source = DataSource.parse(args.data)
    report, (_, model) = read_report(args.run), load_detector(args.run)
    photographs = load(source, FORMATS[source.name].train)
    judged = judge_all(finder(torch_maps(model), DetectorSpec()), photographs, progress=True)
    threshold = choose_threshold(judged, args.false_boxes)
    chosen = {"threshold": threshold, "train": asdict(figures(judged, threshold))}
    write_json(args.run / REPORT_FILE, {**report, **chosen})
    print(json.dumps(chosen, indent=2))


def evaluate(args: argparse.Namespace) -> None:
    """Prints the figures at the threshold, and the recall at some numbers of false boxes."""
    from train.detection.evaluate import curve, figures, finder, judge_all
    from train.detection.photographs import load

    network, spec = _open(args)
    source = DataSource.parse(args.data)
    photographs = load(source, args.split or FORMATS[source.name].test)
    judged = judge_all(finder(network, spec), photographs, progress=True)
    threshold = spec.threshold if args.threshold is None else args.threshold
    print(json.dumps({**asdict(figures(judged, threshold)), "recall_by_false_boxes": curve(judged)}, indent=2))


def _open(args: argparse.Namespace) -> tuple[Network, DetectorSpec]:
    if args.model:
        from train.detection.export import open_detector

        network, metadata = open_detector(args.model)
        return network, metadata.spec
    from dataclasses import replace

    from landmarks.detection import DetectorSpec
    from train.detection.evaluate import torch_maps
    from train.detection.loop import load_detector
    from train.runs.record import read_report

    _, model = load_detector(args.run)
    return torch_maps(model), replace(DetectorSpec(), threshold=read_report(args.run)["threshold"])


def export(args: argparse.Namespace) -> None:
    """Exports and says what was written."""
    from landmarks.detection import DetectorMetadata
    from landmarks.repository import model_path
    from train.detection.export import export_detector

    metadata = export_detector(args.run, args.repository)
    size = model_path(args.repository, kind=DetectorMetadata).stat().st_size / 1e6
    print(
        f"exported {metadata.name} (run {metadata.run_id}) into {args.repository}: "
        f"{size:.2f} MB, threshold {metadata.spec.threshold}"
    )
