"""`landmarks-train quantize`: adds an 8-bit version of an exported network to its repository."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

from train.commands.arguments import add_data, add_repository
from train.datasets.source import DataSource
from train.errors import TrainingError
from train.export.quantize import quantize

DETAILS: Final = (
    "Adds it to the repository, where LANDMARKS_PRECISION=int8 chooses it, and prints what it costs in error and "
    "gains in speed."
)
EXAMPLE: Final = "--data faces300w:data/faces300w"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The repository, and data to measure ranges and errors on."""
    add_repository(parser)
    add_data(parser, "a data set to measure ranges and errors on")
    parser.add_argument("--samples", type=int, default=300, help="training faces that ranges come from [%(default)s]")


def run(
    *,
    repository: Path,
    data: str,
    samples: int,
) -> None:
    """Quantizes and prints how the two networks compare."""
    if samples < 1:
        raise TrainingError(f"--samples must be at least 1, not {samples}")
    comparison = quantize(repository, DataSource.parse(data), samples)
    print(json.dumps(comparison, indent=2))
