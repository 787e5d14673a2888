"""`landmarks-train export-detector`: writes a finished run's detector into a Triton model repository."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from landmarks.detector import DetectorMetadata
from landmarks.repository import model_path
from train.commands.arguments import add_repository
from train.detection.export import export_detector

DETAILS: Final = "Checked against PyTorch, with the golden face in it, and stamped into its configuration."
EXAMPLE: Final = "--run runs/detector --repository model_repo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run and the repository."""
    parser.add_argument("--run", required=True, type=Path, help="folder of the run")
    add_repository(parser)
    about = "instead of the one that the run chose; the service's least score lets it be lower than that"
    parser.add_argument("--threshold", type=float, help=about)


def run(
    *,
    run: Path,
    repository: Path,
    threshold: float | None,
) -> None:
    """Exports and prints what was written."""
    metadata = export_detector(run, repository, threshold)
    size = model_path(repository, kind=DetectorMetadata).stat().st_size / 1e6
    print(
        f"exported {metadata.name} (run {metadata.run_id}) into {repository}: "
        f"{size:.2f} MB, threshold {metadata.spec.threshold}"
    )
