"""What every table needs: finished runs, trained now or reused, their predictions, and a table written to files."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from train.config import Config, load_config
from train.datasets.face import BoxKind
from train.datasets.source import DataSource
from train.datasets.training_data import TrainingData
from train.engine.landmark_run import LandmarkRun
from train.errors import TrainingError
from train.evaluation.plots import NORM_LABELS
from train.evaluation.predict import check_points, predict
from train.evaluation.predictions import Predictions
from train.evaluation.readers import DecoderName
from train.evaluation.trained import Trained, open_run
from train.runs.folder import DESCRIPTION_FILE, REPORT_FILE

SIZES: Final = (64, 128, 256)
"""Crop sizes in pixels that the tables compare."""
CONFIGS: Final[Mapping[int, str]] = {64: "compact64", 128: "compact128", 256: "compact"}
"""The shipped configuration of the compact backbone that ends at each crop size."""
UNKNOWN: Final = "-"
"""What a table shows where there is no figure."""
NO_PUBLISHED: Final = "The paper's own figures are of other data and another network, so none are shown beside these."


@dataclass(frozen=True)
class RunSpec:
    """A run that a table needs."""

    name: str
    """Of its folder."""
    config: Config
    start: RunSpec | None = None
    """The run whose weights it starts from; None: random ones."""

    @staticmethod
    def of(source: str) -> RunSpec:
        """A configuration without changes, shipped or a file; its run is named after it. Raises ConfigError."""
        return RunSpec(Path(source).stem, load_config(Config, source))

    @property
    def size(self) -> int:
        """Side in pixels of the crops of its last stage."""
        return self.config.stages[-1].input_size


@dataclass(frozen=True)
class TableContext:
    """The data, the folders of runs and tables, and what is compared."""

    source: DataSource
    runs: Path
    out: Path
    train: bool
    """Whether a run that is missing or unfinished is trained; otherwise it is an error."""
    sizes: tuple[int, ...] = SIZES
    """Crop sizes that are compared."""
    configs: tuple[str, ...] = ()
    """Configurations to compare instead of the shipped ones of those sizes."""

    @property
    def subject(self) -> str:
        """What the errors of a table are, in words."""
        return f"NME in percent of {NORM_LABELS[self.source.layout.norm]} on {self.source.name}"

    def run_specs(self) -> list[RunSpec]:
        """The runs of a table that compares configurations without changes. Raises ConfigError."""
        return [RunSpec.of(name) for name in self.configs or [CONFIGS[size] for size in self.sizes]]

    def label(self, spec: RunSpec) -> str:
        """A run's name in a table: its crop size, and the configuration where these were chosen."""
        return f"{spec.name}, {spec.size} px" if self.configs else f"{spec.size} px"

    def trained(self, spec: RunSpec) -> Trained:
        """The finished run, trained now if necessary. Raises TrainingError."""
        self.finish(spec)
        return open_run(self.runs / spec.name)

    def finish(self, spec: RunSpec) -> None:
        """Trains a run, and those it starts from, as far as they are missing or unfinished. Raises TrainingError."""
        if self.is_finished(spec.name):
            return
        folder = self.runs / spec.name
        if not self.train:
            raise TrainingError(f"{folder} holds no finished run: leave --reuse-only out to train it now")
        if spec.start:
            self.finish(spec.start)
        data = TrainingData((self.source.name,), self.source.train_faces(), self.source.layout)
        run = LandmarkRun(spec.config, data, folder)
        if run.checkpoint.exists():
            run.resume()
        elif spec.start:
            run.start_from(self.runs / spec.start.name / run.checkpoint.name)
        run.train(self.source.test_faces(), evaluate_every=10)

    def is_finished(self, name: str) -> bool:
        """Whether there is a finished run of that name. Raises TrainingError when it was trained on other data."""
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
        self, trained: Trained, decoders: Sequence[DecoderName], boxes: BoxKind = "P2", corrected: bool = True
    ) -> Predictions:
        """A run's predictions for the test faces. `corrected`: whether decoding corrects the quantizer's bias.

        Raises TrainingError when the network and the data differ in the number of points.
        """
        check_points(trained.codec, self.source.layout)
        return predict(
            trained.network,
            self.source.test_faces(),
            trained.codec,
            trained.crop_scale,
            decoders,
            boxes,
            progress=True,
            layout=self.source.layout,
            correction=trained.correction if corrected else 0.0,
        )


@dataclass(frozen=True)
class Table:
    """Figures by row and column, with the notes that a reader needs."""

    name: str
    """Of the files."""
    title: str
    notes: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def write(self, out: Path) -> None:
        """Writes `<name>.md` and `<name>.csv` into a folder, which is made if necessary."""
        out.mkdir(parents=True, exist_ok=True)
        lines = [self.columns, ("---", *["---:"] * (len(self.columns) - 1)), *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        (out / f"{self.name}.md").write_text(f"# {self.title}\n\n{self.notes}\n\n{table}\n", encoding="utf-8")
        with (out / f"{self.name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([self.columns, *self.rows])
