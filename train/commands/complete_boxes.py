"""`landmarks-train complete-boxes`: adds the boxes of faces that nobody annotated, by a YuNet detector."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from train.commands.arguments import add_data
from train.commands.fit_detector import DATA_HELP
from train.datasets.source import DataSource
from train.detection.teacher import complete_boxes

DETAILS: Final = (
    "For fit-detector, for which a face without a box is background. Images are linked, not copied. Boxes of the set "
    "that hold an annotated face become certain."
)
EXAMPLE: Final = "--data faces300w:data/hard --yunet yunet.onnx --out data/hard_complete"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The data set, the detector and the new data set's folder."""
    add_data(parser, DATA_HELP)
    parser.add_argument("--yunet", required=True, type=Path, help="ONNX file of the YuNet detector")
    parser.add_argument("--out", required=True, type=Path, help="the new data set's folder")


def run(
    *,
    data: str,
    yunet: Path,
    out: Path,
) -> None:
    """Writes the set and prints how many boxes it adds."""
    print(f"{complete_boxes(DataSource.parse(data), yunet, out)} boxes added in {out}")
