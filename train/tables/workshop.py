"""What every table needs: runs trained or reused, what they predict, and a table written down."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from train.config import Config, load_config
from train.datasets.source import DataSource
from train.errors import TrainingError

if TYPE_CHECKING:
    from train.datasets.face import BoxKind
    from train.evaluation.predict import Predictions
    from train.evaluation.readers import DecoderName
    from train.evaluation.trained import Trained

SIZES: Final = (64, 128, 256)
"""Crop sizes in pixels that the tables compare."""
CONFIGS: Final[Mapping[int, str]] = {64: "compact64", 128: "compact128", 256: "compact"}
"""The shipped configuration of the compact backbone that ends at each crop size."""
UNKNOWN: Final = "-"
"""What a table shows where there is no figure."""
NO_OTHERS: Final = "The paper's own figures of this table are not known to this project, so none stand beside these."


@dataclass(frozen=True)
class Recipe:
    """A run that a table needs."""

    name: str
    """of its folder"""
    config: Config
    start: Recipe | None = None
    """The run whose weights it goes on from; None: from random ones."""

    @staticmethod
    def of(source: str) -> Recipe:
        """A configuration as it stands, shipped or a file; its run is named after it. Raises ConfigError."""
        return Recipe(Path(source).stem, load_config(Config, source))

    @property
    def size(self) -> int:
        """Side of the crops that it ends with, in pixels."""
        return self.config.stages[-1].input_size


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
    configs: tuple[str, ...] = ()
    """Configurations to compare instead of the shipped ones of those sizes."""

    @property
    def subject(self) -> str:
        """What the errors of a table are, in words."""
        from train.evaluation.plots import NORMS

        return f"NME in percent of {NORMS[self.source.layout.norm]} on {self.source.name}"

    def recipes(self) -> list[Recipe]:
        """The runs of a table that compares configurations as they stand."""
        return [Recipe.of(name) for name in self.configs or [CONFIGS[size] for size in self.sizes]]

    def label(self, recipe: Recipe) -> str:
        """A recipe's name in a table: its crop size, and the configuration where it was chosen."""
        return f"{recipe.name}, {recipe.size} px" if self.configs else f"{recipe.size} px"

    def trained(self, recipe: Recipe) -> Trained:
        """The finished run of a recipe, trained now if need be. Raises TrainingError."""
        from train.evaluation.trained import open_run

        self.finish(recipe)
        return open_run(self.runs / recipe.name)

    def finish(self, recipe: Recipe) -> None:
        """Trains a recipe and those it starts from, as far as their runs are missing or unfinished."""
        from train.datasets.training_data import TrainingData
        from train.engine.loop import Run

        if self.finished(recipe.name):
            return
        folder = self.runs / recipe.name
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

    def finished(self, name: str) -> bool:
        """Whether the runs hold a finished one of that name. Raises TrainingError when it is of other data."""
        from train.runs.record import DESCRIPTION_FILE, REPORT_FILE

        folder = self.runs / name
        if not (folder / REPORT_FILE).is_file():
            return False
        data = json.loads((folder / DESCRIPTION_FILE).read_text("utf-8"))["data"]
        if data != [self.source.name]:
            raise TrainingError(
                f"{folder} was trained on {', '.join(data)}, not {self.source.name}: choose other --runs"
            )
        return True

    def predict(
        self, trained: Trained, readings: Sequence[DecoderName], boxes: BoxKind = "P2", corrected: bool = True
    ) -> Predictions:
        """What a run makes of the faces to report on. `corrected`: whether decoding corrects for its quantizer."""
        from train.evaluation.predict import check_points, predict

        check_points(trained.codec, self.source.layout)
        return predict(
            trained.network,
            self.source.test_faces(),
            trained.codec,
            trained.crop_scale,
            readings,
            boxes,
            progress=True,
            layout=self.source.layout,
            correction=trained.correction if corrected else 0.0,
        )


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
