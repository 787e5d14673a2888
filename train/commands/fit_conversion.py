"""`landmarks-train fit-conversion`: fits the conversion of 68 points to 98."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import numpy as np

from landmarks.layout import WFLW98
from train.commands.arguments import DATA_HELP
from train.datasets.conversion import ADDED, GIVEN, Array, cross_validated, fit, fit_shapes, given68
from train.datasets.npz import load_arrays
from train.datasets.source import DataSource
from train.datasets.teacher import load_teacher, pairs
from train.errors import DataError
from train.evaluation.conversion_report import draw_conversion, table
from train.evaluation.metrics import inter_ocular, point_errors

DETAILS: Final = (
    "With --teacher it is fitted to pairs: the annotated points of each training face, and the 98 points that a "
    "network trained on WFLW finds on it (`landmarks-train predict` writes such a file). It then moves the 68 points "
    "as well to where WFLW has them. Without, it is fitted to shapes of 98 points and adds the 30 points that 68 lack. "
    "`convert-points` applies it to a data set; `fit`, `calibrate` and `evaluate` take it as --conversion."
)
EXAMPLE: Final = (
    "--data faces300w:data/faces300w --teacher data/faces300w/teacher98.jsonl --out conversion.npz --plot moved.png"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Pairs or shapes of 98 points, and the file to write."""
    shapes = parser.add_mutually_exclusive_group(required=True)
    shapes.add_argument(
        "--data", nargs="+", metavar="FORMAT:PATH", help=f"{DATA_HELP}; its training faces are used, 98 points each"
    )
    shapes.add_argument("--shapes", type=Path, help="an .npz file with `points` [n, 98, 2] instead")
    about = "what a network trained on WFLW finds on the faces: a file for each of --data, in the same order"
    parser.add_argument("--teacher", nargs="+", type=Path, default=[], metavar="FILE", help=about)
    parser.add_argument("--out", required=True, type=Path, help="the .npz file to write")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the mean shape before and after, and the teacher's"
    )


def run(
    *,
    data: list[str] | None,
    shapes: Path | None,
    teacher: list[Path],
    out: Path,
    plot: Path | None,
) -> None:
    """Fits the conversion, writes it, and prints its error on faces that it was not fitted to."""
    if teacher:
        if len(teacher) != len(data or []):
            raise DataError(f"--teacher takes a file for each of --data: {len(data or [])}, not {len(teacher)}")
        parts = [training_pairs(each, path) for each, path in zip(data or [], teacher, strict=True)]
        before, wanted = (np.concatenate(each) for each in zip(*parts, strict=True))
        given = given68(before)
        fit(given, wanted).save(out)
        after = cross_validated(given, wanted)
        print(table(before, after, wanted))
        print(f"wrote {out}, fitted to {len(given)} pairs; the table is of faces that were left out of the fit")
    else:
        points = load_arrays(shapes, "points")[0] if shapes else np.concatenate(list(map(training_points, data or [])))
        before, after, wanted = points, cross_validated(given68(points), points), points
        fit_shapes(points).save(out)
        print(f"wrote {out}, fitted to {len(points)} shapes; error {held_out_error(points):.2f} % of inter-ocular")
    if plot:
        draw_conversion(before, after, wanted, plot)


def training_points(data: str) -> Array:
    """The points [faces, 98, 2] of a set's training faces. Raises DataError when it has another layout."""
    return np.stack([points for _, points in _training_faces(data)])


def training_pairs(data: str, teacher: Path) -> tuple[Array, Array]:
    """The points of a set's training faces and what the teacher found on them, both [faces, 98, 2].

    Raises DataError as `training_points` and `train.datasets.teacher` do.
    """
    return pairs(_training_faces(data), load_teacher(teacher))


def _training_faces(data: str) -> list[tuple[str, Array]]:
    source = DataSource.parse(data)
    if source.layout is not WFLW98:
        raise DataError(f"a conversion is fitted to 98 points; {source.name} has {source.layout.points}")
    return [(face.image.name, face.points) for face in source.train_faces()]


def held_out_error(shapes: Array) -> float:
    """Mean error of the 30 points that the conversion adds, in percent of the inter-ocular distance.

    Measured on every tenth of the shapes [n, 98, 2], the conversion being fitted to the others.
    """
    tenth = np.arange(len(shapes)) % 10 == 0
    truth = np.asarray(shapes[tenth], np.float64)
    predicted = fit_shapes(shapes[~tenth]).convert(truth[:, GIVEN])
    errors = point_errors(predicted, truth, inter_ocular(truth, WFLW98))
    return 100 * float(errors[:, ADDED].mean())
