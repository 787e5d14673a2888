"""`landmarks-train calibrate`: fits a run's covariances to its errors."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from train.commands.arguments import add_boxes, add_training_data
from train.datasets.face import BoxKind
from train.datasets.source import DataSource, parse_mix
from train.errors import TrainingError
from train.evaluation.calibrate_run import calibrate_run

DETAILS: Final = (
    "By groups of points and by how wide a face's maps are, on the faces of the training split; how much larger "
    "errors are on faces never seen is taken from those that were held out. Also what tells squeezed faces from others."
)
NONE_HELD_OUT: Final = (
    "no face was held out: the covariances are fitted to training errors alone and will be too small "
    "(train with `held_out = 20` in the configuration)"
)
EXAMPLE: Final = "--run runs/compact --data faces300w:data/faces300w --references runs/compact64"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, its data, and what was held out of training."""
    parser.add_argument("--run", required=True, type=Path, help="folder of a finished run")
    add_training_data(parser)
    parser.add_argument(
        "--held-out", type=int, metavar="N", help="about every N-th image was kept out of training [as configured]"
    )
    parser.add_argument(
        "--references",
        type=Path,
        nargs="+",
        default=[],
        metavar="RUN",
        help="runs that kept no image out: they measure how much harder the images held out here are than the rest",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="faces of each data set at most, evenly chosen [all]")
    about = "further sets, of large poses: they tell which faces are plausible, but count for no covariance"
    parser.add_argument("--poses", nargs="+", default=[], metavar="FORMAT:PATH", help=about)
    about = "of a face's spread in its covariances, 0 to 3, instead of the one fitted (decision 0015)"
    parser.add_argument("--power", type=float, metavar="X", help=about)
    add_boxes(parser)


def run(
    *,
    run: Path,
    data: list[str],
    conversion: Path | None,
    held_out: int | None,
    references: list[Path],
    limit: int | None,
    power: float | None,
    poses: list[str],
    boxes: BoxKind | None,
) -> None:
    """Calibrates and prints the calibration."""
    if held_out is not None and held_out < 0:
        raise TrainingError("--held-out must not be negative; 0 says that nothing was held out")
    if limit is not None and limit < 1:
        raise TrainingError(f"--limit must be at least 1, not {limit}")
    if power is not None and not 0 <= power <= 3:
        raise TrainingError(f"--power must be from 0 to 3, not {power:g}")
    sources, further = parse_mix(data, conversion), [DataSource.parse(text) for text in poses]
    calibration = calibrate_run(run, sources, boxes, held_out, references, limit, power, further)
    if not calibration.held_out:
        print(NONE_HELD_OUT, file=sys.stderr)
    print(json.dumps(asdict(calibration), indent=2))
