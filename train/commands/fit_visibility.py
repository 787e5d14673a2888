"""`landmarks-train fit-visibility`: adds a layer that states the probability that each point is seen."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

from train.commands.arguments import add_training_data
from train.datasets.source import parse_mix
from train.datasets.training_data import training_data
from train.errors import TrainingError
from train.evaluation.trained import load_run
from train.visibility import evenly, fit_visibility

DETAILS: Final = (
    "It is fitted in minutes to faces of synthesize-poses, which state which points are seen, and to occlusions that "
    "are pasted over faces. Other faces that look about straight at the camera count as seen in full. The result is "
    "another run, with the same points and the same calibration."
)
EXAMPLE: Final = "--run runs/shaped --data faces300w:data/faces300w faces300w:data/poses --out runs/visibility"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, the run and the folder of the new run."""
    add_training_data(parser)
    parser.add_argument("--run", required=True, type=Path, help="folder of the finished run, made by fit-shape")
    about = "faces of each data set, evenly chosen: a number, or one for each set in their order [all]"
    parser.add_argument("--limit", type=int, nargs="+", metavar="N", help=about)
    parser.add_argument("--out", required=True, type=Path, help="folder of the run that it becomes")


def run(
    *,
    data: list[str],
    conversion: Path | None,
    run: Path,
    limit: list[int] | None,
    out: Path,
) -> None:
    """Fits the layer and prints, as JSON, how well it states what it was fitted to."""
    if limit and (min(limit) < 1 or len(limit) not in (1, len(data))):
        raise TrainingError(f"--limit takes one number of at least 1, or one for each of the {len(data)} data sets")
    config, _ = load_run(run)
    chosen = evenly(training_data(parse_mix(data, conversion), config), limit)
    print(json.dumps(asdict(fit_visibility(run, chosen, out)), indent=2))
