"""What every table needs: runs trained or reused, errors measured by any decoder, and a table written down."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from train.config import Config, load_config
from train.datasets import DataSource
from train.errors import TrainingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from train.codecs import Maps, Points
    from train.datasets.face import BoxKind
    from train.trained import Trained

SIZES: Final = (64, 128, 256)
"""Crop sizes in pixels that the tables compare."""


@dataclass(frozen=True)
class Recipe:
    """A run that a table needs."""

    name: str
    """of its folder"""
    config: Config
    start: Recipe | None = None
    """The run whose weights it goes on from; None: from random ones."""

    @staticmethod
    def shipped(name: str) -> Recipe:
        """A shipped configuration as it stands."""
        return Recipe(name, load_config(name))


@dataclass(frozen=True)
class Workshop:
    """The data, where runs lie, and where tables go."""

    source: DataSource
    runs: Path
    out: Path
    train: bool
    """Whether a run that is missing or unfinished is trained, rather than an error."""
    sizes: tuple[int, ...] = SIZES
    """Crop sizes that tables are limited to."""

    def trained(self, recipe: Recipe) -> Trained:
        """The finished run of a recipe, trained now if need be. Raises TrainingError."""
        from train.trained import open_run

        self.finish(recipe)
        return open_run(self.runs / recipe.name)

    def finish(self, recipe: Recipe) -> None:
        """Trains a recipe and those it starts from, as far as their runs are missing or unfinished."""
        from train.loop import REPORT_FILE, Run, TrainingData

        folder = self.runs / recipe.name
        if (folder / REPORT_FILE).is_file():
            return
        if not self.train:
            raise TrainingError(f"{folder} holds no finished run: leave --reuse-only out to train it now")
        if recipe.start:
            self.finish(recipe.start)
        run = Run(
            recipe.config,
            TrainingData((self.source.name,), self.source.train_faces(), self.source.layout),
            folder,
        )
        if run.checkpoint.exists():
            run.resume()
        elif recipe.start:
            run.start_from(self.runs / recipe.start.name / run.checkpoint.name)
        run.train(self.source.test_faces(), evaluate_every=10)


@dataclass(frozen=True)
class Table:
    """Figures by row and column, with what a reader must know of them."""

    name: str
    title: str
    notes: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def write(self, out: Path) -> None:
        """`<name>.md` and `<name>.csv`."""
        out.mkdir(parents=True, exist_ok=True)
        lines = [self.columns, ("---", *["---:"] * (len(self.columns) - 1)), *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        (out / f"{self.name}.md").write_text(f"# {self.title}\n\n{self.notes}\n\n{table}\n", encoding="utf-8")
        with (out / f"{self.name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([self.columns, *self.rows])


def measure(
    trained: Trained, source: DataSource, read: Callable[[Maps], Sequence[Points]], boxes: BoxKind = "P2"
) -> NDArray[np.float64]:
    """NME in percent of each of the readings that `read` makes of a face's maps: every heatmap is computed once.

    `read`: log-activations [points, cells, cells] of one face -> cell coordinates u [points, 2], once per reading.
    """
    from tqdm import tqdm

    from landmarks.crop import transform_points
    from train.evaluate import crops_of
    from train.metrics import inter_ocular, point_errors
    from train.samples import PhotoCache

    faces, codec = source.test_faces(), trained.codec
    errors: list[list[float]] = []
    batches = crops_of(faces, trained.crop_scale, codec.input_size, boxes, PhotoCache(limit=0))
    with tqdm(total=len(faces), desc=f"decode at {codec.input_size} px", unit="face", leave=False) as bar:
        for crops, matrices in batches:
            done = len(errors)
            for maps, matrix, face in zip(trained.network(crops), matrices, faces[done:], strict=False):
                truth = transform_points(matrix, face.points)[None]
                lengths = inter_ocular(truth, source.layout)
                found = [codec.to_pixels(u)[None] for u in read(maps)]
                errors.append([float(point_errors(points, truth, lengths).mean()) for points in found])
            bar.update(len(crops))
    nme: NDArray[np.float64] = 100 * np.array(errors).mean(axis=0)
    return nme
