"""`landmarks-train report-faces`: the error by pose, place in the frame, eyes, mouth and hidden points."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from train.commands.arguments import add_network
from train.datasets.source import DataSource
from train.errors import DataError, TrainingError
from train.evaluation.faces_report import draw, page, report
from train.evaluation.trained import open_trained

DETAILS: Final = (
    "Of the faces to test on as they are, and in pictures that are turned, squeezed or cut, or where eyes are closed. "
    "Writes faces.md, the tables, and faces.png into a folder."
)
EXAMPLE: Final = "--model model_repo/heatmap/1/model.onnx --data 300-W=faces300w:data/faces300w --every 4 --out results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The network, the data sets, and the folder of the results."""
    add_network(parser)
    about = "data sets of WFLW's points, as NAME=FORMAT:PATH where the tables are to name them"
    parser.add_argument("--data", required=True, nargs="+", metavar="[NAME=]FORMAT:PATH", help=about)
    about = "ICT's face model (.npz), by which yaw and pitch are measured; without it there are no tables of these"
    parser.add_argument("--face-model", type=Path, metavar="FILE", help=about)
    about = "change the pictures of every N-th face [%(default)s]"
    parser.add_argument("--every", type=int, default=1, metavar="N", help=about)
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="folder of the results [%(default)s]")


def run(
    *,
    run: Path | None,
    model: Path | None,
    data: list[str],
    face_model: Path | None,
    every: int,
    out: Path,
) -> None:
    """Measures and writes."""
    if every < 1:
        raise TrainingError(f"--every must be at least 1, not {every}")
    if face_model and not face_model.is_file():
        raise DataError(f"{face_model}: no such file; docs/training.md says where the face model comes from")
    sources = dict(named(text) for text in data)
    tables = report(open_trained(run, model), sources, face_model, every)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "faces.md").write_text(page(tables), encoding="utf-8")
        draw(tables, out / "faces.png")
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror or error})") from error
    print(f"wrote faces.md and faces.png into {out}")


def named(text: str) -> tuple[str, DataSource]:
    """`[NAME=]FORMAT:PATH` -> the name, by default that of the folder, and the set."""
    name, separator, rest = text.partition("=")
    source = DataSource.parse(rest if separator else text)
    return (name if separator else source.root.name), source
