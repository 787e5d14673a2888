"""Arguments that several commands have in common."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from landmarks.size import Size
from train.config import shipped_configs
from train.datasets.registry import FORMATS

DATA_HELP: Final = f"a data set as FORMAT:PATH, where FORMAT is one of {', '.join(FORMATS)}"


def crop_size(text: str) -> Size:
    """The type of an argument that is the size of a crop."""
    try:
        return Size.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_data(parser: argparse.ArgumentParser, about: str = DATA_HELP) -> None:
    """`--data`: one data set."""
    parser.add_argument("--data", required=True, metavar="FORMAT:PATH", help=about)


def add_conversion(parser: argparse.ArgumentParser) -> None:
    """`--conversion`: the file of a conversion of 68 points to 98."""
    about = "make 98 points of a set's 68, by a file of fit-conversion"
    parser.add_argument("--conversion", type=Path, metavar="FILE", help=about)
    parser.add_argument("--lift", dest="conversion", type=Path, help=argparse.SUPPRESS)  # the option's former name


def add_training_data(parser: argparse.ArgumentParser) -> None:
    """`--data` of several data sets, and `--conversion`: see `train.datasets.source.parse_mix`."""
    about = f"{DATA_HELP}; of several, all are trained on, and the first is tested on"
    parser.add_argument("--data", required=True, nargs="+", metavar="FORMAT:PATH", help=about)
    add_conversion(parser)


def add_network(parser: argparse.ArgumentParser, regressors: bool = False) -> None:
    """`--run` or `--model`: what is evaluated; with `regressors` also `--regressor`."""
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument("--run", type=Path, help="folder of a finished run")
    network.add_argument("--model", type=Path, help="an exported ONNX file")
    if regressors:
        about = (
            "ONNX files of coordinates in PFLD's form, averaged over crops and mirror images, about tight boxes (P1)"
        )
        network.add_argument("--regressor", nargs="+", type=Path, metavar="FILE", help=about)


def add_boxes(parser: argparse.ArgumentParser) -> None:
    """`--boxes`: one kind of boxes."""
    parser.add_argument("--boxes", choices=["P1", "P2"], help="tight or detector's boxes [those of training]")


def add_person_boxes(parser: argparse.ArgumentParser, where: str) -> None:
    """`--person-boxes`: people in a detector's boxes, for COCO's average precision."""
    about = (
        f"{where}: a detector's boxes of people in COCO's images, JSON in COCO's format of results [annotated boxes]"
    )
    parser.add_argument("--person-boxes", type=Path, metavar="FILE", help=about)


def add_repository(parser: argparse.ArgumentParser) -> None:
    """`--repository`: a Triton model repository."""
    parser.add_argument("--repository", type=Path, default=Path("model_repo"), help="the repository [%(default)s]")


def add_training(parser: argparse.ArgumentParser, config: str, weights: str) -> None:
    """What every training takes: its configuration, the run's folder, where it starts and with how many processes."""
    names = ", ".join(
        sorted(name for name in shipped_configs() if name.startswith("detector") == (config == "detector"))
    )
    parser.add_argument("--config", default=config, help=f"a TOML file, or a shipped one: {names} [%(default)s]")
    parser.add_argument("--out", required=True, type=Path, help="the run's folder: checkpoint, metrics, final report")
    parser.add_argument("--resume", action="store_true", help="continue from the folder's checkpoint")
    parser.add_argument("--weights", type=Path, help=weights)
    parser.add_argument("--seed", type=int, help="replaces the configuration's seed")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare samples [%(default)s]")
