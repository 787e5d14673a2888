"""What every table needs: finished runs, trained now or reused, their predictions, and a table written to files."""

from __future__ import annotations

import csv
import json
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from landmarks.codec import Quantizer
from landmarks.size import Size
from train.config import Config, validated
from train.datasets.face import AnnotatedFace, BoxKind
from train.datasets.source import DataSource
from train.datasets.training_data import training_data
from train.engine.landmark_run import LandmarkRun
from train.errors import TrainingError
from train.evaluation.plots import NORM_LABELS
from train.evaluation.predict import check_points, predict
from train.evaluation.predictions import Predictions
from train.evaluation.readers import DecoderName, Flip
from train.evaluation.trained import Trained, open_run
from train.runs.folder import DESCRIPTION_FILE, REPORT_FILE, read_config

UNKNOWN: Final = "-"
"""What a table shows where there is no figure."""
WIDTH: Final = 120
"""Characters of a line of notes."""
ROUNDING: Final[Quantizer] = "random"
BASELINE: Final[Quantizer] = "round"
"""The quantizers of the paper's method (eq. 15) and of its baseline (section 4.3: round, and argmax to decode)."""


@dataclass(frozen=True)
class RunSpec:
    """A run that a table needs."""

    name: str
    """Of its folder."""
    config: Config
    start: RunSpec | None = None
    """The run whose weights it starts from; None: random ones."""

    @property
    def size(self) -> Size:
        """Of the crops of its last stage."""
        return self.config.stages[-1].input_size


@dataclass(frozen=True)
class TableContext:
    """The data, the folders of runs and tables, and what is compared."""

    source: DataSource
    runs: Path
    out: Path
    train: bool
    """Whether a run that is missing or unfinished is trained; otherwise its figures are left out."""
    recipe: Config
    """By which every run is trained, but for what the table compares."""
    sizes: tuple[Size, ...]
    """Crop sizes that are measured."""
    seeds: tuple[int, ...] = (0,)
    """Seeds over which figures are averaged."""
    run: Path | None = None
    """A finished run to measure instead of one by the recipe, where a table measures a single one."""
    weights: Path | None = None
    """What runs start from, as `fit --weights`; None: random weights."""
    person_boxes: Path | None = None
    """A detector's boxes of people, for the tables of COCO; None: people are cropped by their annotated boxes alone."""

    @property
    def subject(self) -> str:
        """What the errors of a table are, in words."""
        return f"NME in percent of {NORM_LABELS[self.source.layout.norm]} on {self.source.name}"

    @property
    def training(self) -> str:
        """How the runs were trained and tested, for the notes below a table's title."""
        config = self.recipe
        start = self.weights.name if self.weights else "random weights"
        milestones = f", a tenth after epochs {', '.join(map(str, config.milestones))}" if config.milestones else ""
        flip = ", averaged with the mirrored crop" if config.flip_averaging else ""
        one = len(self.seeds) == 1
        seeds = f"seed {self.seeds[0]}" if one else f"the mean of seeds {', '.join(map(str, self.seeds))}"
        return (
            f"Ours: {config.name} from {start}, {config.epochs} epochs at a rate of "
            f"{config.learning_rate:g}{milestones}, batches of {config.batch_size}; boxes {config.boxes} unless the "
            f"table says otherwise{flip}; {seeds}."
        )

    @property
    def protocol(self) -> str:
        """`training`, and how the paper's figures beside ours were made."""
        return (
            f"{self.training} The paper's: HRNet-W18 from weights of ImageNet, 150 epochs (section 5.3), on WFLW, "
            "whose faces are harder. So compare how figures change along a row or a column, not their level."
        )

    def spec(self, size: Size, seed: int = 0, **changes: Any) -> RunSpec:
        """The run by the recipe at a crop size, with these keys of the configuration changed."""
        stages = ({"epochs": self.recipe.epochs, "input_size": size.plain},)
        values = {**self.recipe.model_dump(mode="json"), "stages": stages, "seed": seed, **changes}
        config = validated(Config, values, "the recipe")
        return RunSpec(run_name(config), config)

    def trained(self, spec: RunSpec) -> Trained | None:
        """The finished run, trained now if that is allowed; None where it is missing. Raises TrainingError."""
        if not self.is_finished(spec):
            if not self.train:
                return None
            self.finish(spec)
        return open_run(self.runs / spec.name)

    def by_seed(
        self, spec: Callable[[int], RunSpec], figures: Callable[[Trained], NDArray[np.float64]]
    ) -> NDArray[np.float64] | None:
        """Figures of the runs of all seeds, [seeds, ...]; None unless all are finished."""
        runs = [self.trained(spec(seed)) for seed in self.seeds]
        return np.stack([figures(run) for run in runs if run is not None]) if all(runs) else None

    def finish(self, spec: RunSpec) -> None:
        """Trains a run, and those it starts from, as far as they are missing or unfinished. Raises TrainingError."""
        if self.is_finished(spec):
            return
        folder = self.runs / spec.name
        if spec.start:
            self.finish(spec.start)
        run = LandmarkRun(spec.config, training_data([self.source], spec.config), folder)
        if run.checkpoint.exists():
            run.resume()
        elif spec.start:
            run.start_from(self.runs / spec.start.name / run.checkpoint.name)
        elif self.weights:
            run.start_from(self.weights)
        run.train(self.source.test_faces(), evaluate_every=10)

    def is_finished(self, spec: RunSpec) -> bool:
        """Whether there is a finished run of that name.

        Raises TrainingError when it was trained on other data, or by another configuration.
        """
        folder = self.runs / spec.name
        if not (folder / REPORT_FILE).is_file():
            return False
        data = json.loads((folder / DESCRIPTION_FILE).read_text("utf-8"))["data"]
        if [name.partition(":")[0] for name in data] != [self.source.name]:  # wherever its folder was
            raise TrainingError(
                f"{folder} was trained on {', '.join(data)}, not {self.source.name}: choose other --runs"
            )
        if read_config(folder) != spec.config:
            raise TrainingError(f"{folder} was trained by another configuration: choose other --runs, or its --epochs")
        return True

    def predict(
        self,
        trained: Trained,
        decoders: Sequence[DecoderName],
        boxes: BoxKind | None = None,
        corrected: bool = True,
        faces: Sequence[AnnotatedFace] | None = None,
        flip: Flip | Literal["recipe"] | None = "recipe",
    ) -> Predictions:
        """A run's predictions for the test faces or others, about the boxes it was trained about where none are named.
        `corrected`: whether decoding corrects the quantizer's bias. `flip`: as the recipe says, or another.

        Raises TrainingError when the network and the data differ in the number of points.
        """
        check_points(trained.codec, self.source.layout)
        return predict(
            trained.network,
            self.source.test_faces() if faces is None else faces,
            trained.codec,
            trained.crop_scale,
            decoders,
            boxes or trained.boxes,
            progress=True,
            layout=self.source.layout,
            correction=trained.correction if corrected else 0.0,
            flip=(("points" if self.recipe.flip_averaging else None) if flip == "recipe" else flip),
        )


def run_name(config: Config) -> str:
    """The folder of a run by the recipe: backbone, crop size, what is trained towards, boxes, samples and seed."""
    rounded = "" if config.quantizer == ROUNDING else f"-{config.quantizer}"
    target = config.quantizer if config.objective == "cells" else f"{config.objective}{config.sigma:g}{rounded}"
    samples = [] if config.samples is None else [str(config.samples)]
    return "-".join(
        [config.name, str(config.stages[-1].input_size), target, config.boxes, *samples, f"seed{config.seed}"]
    )


@dataclass(frozen=True)
class Table:
    """Figures by row and column, with the notes that a reader needs."""

    name: str
    """Of the files."""
    title: str
    notes: str
    """Paragraphs, with an empty line between them; filled when they are written."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def write(self, out: Path) -> None:
        """Writes `<name>.md` and `<name>.csv` into a folder, which is made if necessary."""
        out.mkdir(parents=True, exist_ok=True)
        lines = [self.columns, ("---", *["---:"] * (len(self.columns) - 1)), *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        notes = "\n\n".join(textwrap.fill(each, WIDTH, break_long_words=False) for each in self.notes.split("\n\n"))
        (out / f"{self.name}.md").write_text(f"# {self.title}\n\n{notes}\n\n{table}\n", encoding="utf-8")
        with (out / f"{self.name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([self.columns, *self.rows])
