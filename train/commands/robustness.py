"""`landmarks-train robustness`: how the error grows as faces are corrupted more and more."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from train.commands.arguments import add_conversion, add_data, add_network
from train.datasets.source import DataSource
from train.errors import TrainingError
from train.evaluation.robustness import measure, write
from train.evaluation.trained import open_trained

DETAILS: Final = "Corrupts the faces of the split for testing more and more, and writes a table and curves."
EXAMPLE: Final = "--model model_repo/heatmap/1/model.onnx --data faces300w:data/faces300w --out results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The network, the data and the folder of the results."""
    add_network(parser)
    add_data(parser, "a data set; its test split is used")
    add_conversion(parser)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="measure every N-th face [%(default)s]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="folder of the results [%(default)s]")


def run(
    *,
    run: Path | None,
    model: Path | None,
    data: str,
    conversion: Path | None,
    every: int,
    seed: int,
    out: Path,
) -> None:
    """Measures, writes, and prints the AUROC figures."""
    if every < 1:
        raise TrainingError(f"--every must be at least 1, not {every}")
    source = DataSource.parse(data, conversion)
    result = measure(open_trained(run, model), source.test_faces()[::every], source, seed)
    write(result, out, f"Of {run or model} on the test split of {source.name}, boxes P2:")
    figures: dict[str, Any] = {"uncorrupted": result.uncorrupted._asdict(), "auroc": result.auroc}
    print(json.dumps(figures, indent=2))
