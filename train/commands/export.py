"""`landmarks-train export`: writes a finished run into a Triton model repository."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from train.commands.arguments import add_repository
from train.export.torch_to_onnx import export
from train.runs.folder import read_config

DETAILS: Final = (
    "The run must be finished and calibrated. The network becomes ONNX with its codec and its golden points in it, is "
    "checked against PyTorch, and is stamped into the configurations."
)
TIGHT_BOXES: Final = (
    "landmarks-train: the run was trained about the tight boxes of the points (P1), which no detector finds: in the "
    "boxes of a detector it errs more than a run of `fit --boxes P2`"
)
EXAMPLE: Final = "--run runs/compact --repository model_repo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run and the repository."""
    parser.add_argument("--run", required=True, type=Path, help="folder of the run")
    add_repository(parser)
    parser.add_argument(
        "--uncalibrated",
        action="store_true",
        help="export a run that was not calibrated: its covariances say nothing about its errors",
    )


def run(
    *,
    run: Path,
    repository: Path,
    uncalibrated: bool,
) -> None:
    """Exports and prints what was written."""
    metadata = export(run, repository, uncalibrated=uncalibrated)
    if read_config(run).boxes == "P1":
        print(TIGHT_BOXES, file=sys.stderr)
    print(f"exported {metadata.name} (run {metadata.run_id}) into {repository}")
