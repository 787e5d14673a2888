"""How far a network pulls its points towards the centres of heatmap cells: a bias that rounding in training causes.

The error of each decoded coordinate, in cells, is regressed on the true coordinate's offset from its nearest cell
centre. A slope of -1 means that every point lies on a cell centre, 0 that there is no pull. docs/results/README.md
discusses the results.

    python -m bench.cell_pull runs/cells-round-64 --data faces300w:/data/faces300w
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmarks.crop import transform_points
from landmarks.decoders import Coordinates, strongest_cells, topk_mean
from train.datasets.source import DataSource
from train.evaluation.predict import crops_of
from train.evaluation.trained import Trained, open_run
from train.samples.image_cache import ImageCache

MAX_ERROR = 3.0
"""Cells; larger errors are excluded, because rounding does not cause them."""


def cell_pull(trained: Trained, source: DataSource, k: int = 9) -> tuple[float, float]:
    """The slope and the median probability of the strongest cell, over every second test face."""
    faces = source.test_faces()[::2]
    found: list[Coordinates] = []
    truth: list[Coordinates] = []
    peaks: list[NDArray[np.float32]] = []
    batches = crops_of(faces, trained.crop_scale, trained.codec.input_size, "P2", ImageCache(limit=0))
    for crops, matrices in batches:
        for maps, matrix in zip(trained.network(crops).heatmaps, matrices, strict=True):
            face = faces[len(found)]
            found.append(topk_mean(maps, strongest_cells(maps, k)) + trained.correction)
            truth.append(trained.codec.to_cells(transform_points(matrix, face.points)))
            probability = np.exp(maps - maps.max(axis=(1, 2), keepdims=True))
            peaks.append(1 / probability.sum(axis=(1, 2)))
    u, wanted = np.array(found).ravel(), np.array(truth).ravel()
    near = np.abs(u - wanted) < MAX_ERROR
    offset = (wanted + 0.5) % 1 - 0.5
    slope = np.polyfit(offset[near], (u - wanted)[near], 1)[0]
    return float(slope), float(np.median(peaks))


def main() -> None:
    """Prints one line for each run."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.cell_pull", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, help="folders of runs with the objective `cells`, of any rounding"
    )
    parser.add_argument("--data", required=True, metavar="FORMAT:PATH", help="the data set they were trained on")
    args = parser.parse_args()
    for folder in args.runs:
        slope, peak = cell_pull(open_run(folder), DataSource.parse(args.data))
        print(f"{folder.name}: slope {slope:+.3f}, median peak probability {peak:.2f}", flush=True)


if __name__ == "__main__":
    main()
