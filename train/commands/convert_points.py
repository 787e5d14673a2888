"""`landmarks-train convert-points`: a data set with its points converted to WFLW's convention."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from train.datasets.conversion import PointConversion
from train.datasets.convert import convert_points
from train.datasets.source import DataSource
from train.datasets.teacher import load_teacher
from train.errors import DataError
from train.evaluation.conversion_report import table

DETAILS: Final = (
    "The new folder holds annotations and a link to the images, in the format of faces300w. Training faces are "
    "averaged with the points of --teacher; faces to test on are not, as errors should be measured against what "
    "people annotated."
)
EXAMPLE: Final = (
    "--data faces300w:data/faces300w --conversion conversion.npz --teacher data/faces300w/teacher98.jsonl "
    "--out data/converted"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The data set, the conversion, the teacher, and the folder to write."""
    parser.add_argument("--data", required=True, metavar="faces300w:PATH", help="a data set in the format of faces300w")
    parser.add_argument("--conversion", required=True, type=Path, metavar="FILE", help="written by fit-conversion")
    parser.add_argument(
        "--teacher", type=Path, metavar="FILE", help="what a network trained on WFLW finds on the faces"
    )
    about = "training images to leave out, without their ending: copies of images to test on, for example"
    parser.add_argument("--leave-out", nargs="+", default=[], metavar="NAME", help=about)
    parser.add_argument("--out", required=True, type=Path, help="the folder to write; must not exist")


def run(
    *,
    data: str,
    conversion: Path,
    teacher: Path | None,
    leave_out: list[str],
    out: Path,
) -> None:
    """Writes the data set, and prints how far the points of each group were moved."""
    source = DataSource.parse(data)
    if source.name != "faces300w":
        raise DataError(f"convert-points reads and writes the format faces300w, not {source.name}")
    found = load_teacher(teacher) if teacher else {}
    written = convert_points(source.root, PointConversion.load(conversion), found, leave_out, out)
    print(table(written.before, written.after))
    averaged = f", {written.averaged} of them averaged with the teacher's points" if teacher else ""
    print(f"wrote {len(written.after)} faces into {out}{averaged}; {written.left_out} images left out")
