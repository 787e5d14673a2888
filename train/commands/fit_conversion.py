"""`landmarks-train fit-conversion`: fits the conversion of 68 points to 98."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import numpy as np

from landmarks.layout import WFLW98
from train.datasets.conversion import ADDED, GIVEN, Array, fit
from train.datasets.npz import load_arrays
from train.datasets.source import DataSource
from train.errors import DataError
from train.evaluation.metrics import inter_ocular, point_errors

DETAILS: Final = (
    "A linear regression on shapes of 98 points; `fit`, `calibrate` and `evaluate` take its file as --conversion."
)
EXAMPLE: Final = "--data wflw:data/wflw --out conversion.npz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Shapes of 98 points, and the file to write."""
    shapes = parser.add_mutually_exclusive_group(required=True)
    shapes.add_argument("--data", metavar="FORMAT:PATH", help="a set of 98 points; its training faces are used")
    shapes.add_argument("--shapes", type=Path, help="an .npz file with `points` [n, 98, 2] instead")
    parser.add_argument("--out", required=True, type=Path, help="the .npz file to write, for --conversion of fit")


def run(
    *,
    data: str | None,
    shapes: Path | None,
    out: Path,
) -> None:
    """Fits the conversion, writes it, and prints its error on every tenth shape when fitted to the others."""
    points = load_arrays(shapes, "points")[0] if shapes else training_points(str(data))
    fit(points).save(out)
    print(f"wrote {out}, fitted to {len(points)} shapes; error {held_out_error(points):.2f} % of inter-ocular")


def training_points(data: str) -> Array:
    """The points [faces, 98, 2] of a set's training faces. Raises DataError when it has another layout."""
    source = DataSource.parse(data)
    if source.layout is not WFLW98:
        raise DataError(f"a conversion is fitted to 98 points; {source.name} has {source.layout.points}")
    return np.stack([face.points for face in source.train_faces()])


def held_out_error(shapes: Array) -> float:
    """Mean error of the 30 points that the conversion adds, in percent of the inter-ocular distance.

    Measured on every tenth of the shapes [n, 98, 2], the conversion being fitted to the others.
    """
    tenth = np.arange(len(shapes)) % 10 == 0
    truth = np.asarray(shapes[tenth], np.float64)
    predicted = fit(shapes[~tenth]).convert(truth[:, GIVEN])
    errors = point_errors(predicted, truth, inter_ocular(truth, WFLW98))
    return 100 * float(errors[:, ADDED].mean())
