"""A training run: its folder and how far it has come. What the runs of all networks have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from train.config import Recipe
from train.engine.train_state import TrainState
from train.errors import TrainingError
from train.runs.files import write_json
from train.runs.folder import CHECKPOINT_FILE, CONFIG_FILE, DESCRIPTION_FILE
from train.runs.record import MetricsLog
from train.runs.weights import load_weights

R = TypeVar("R", bound=Recipe)


class TrainingRun(Generic[R]):
    """A run from its first epoch or from its checkpoint on."""

    def __init__(self, config: R, state: TrainState, folder: Path) -> None:
        self.config = config
        self.state = state
        self.folder = folder
        self.epoch = 0
        """Epochs that are finished."""
        self._started_from: str | None = None

    @property
    def checkpoint(self) -> Path:
        """The file of the last finished epoch."""
        return self.folder / CHECKPOINT_FILE

    def prepare(self, resume: bool, weights: Path | None) -> None:
        """Goes to where training starts: the folder's checkpoint, weights from elsewhere, or random weights.

        Raises as `resume` and `start_from` do, and TrainingError where the folder has a checkpoint but `resume` is
        false.
        """
        if resume:
            self.resume()
        elif self.checkpoint.exists():
            raise TrainingError(f"{self.checkpoint} exists: add --resume to continue from it, or choose another --out")
        elif weights:
            self.start_from(weights)

    def start_from(self, weights: Path) -> None:
        """Starts from published weights or another run's checkpoint, which run.json then states by its hash.

        Raises TrainingError when they are not of this network.
        """
        self._started_from = load_weights(self.state.model, weights)

    def save(self) -> None:
        """Writes the checkpoint. If that is interrupted, the folder keeps the one it had."""
        self.state.save(self.checkpoint, self.config, self.epoch, started_from=self._started_from)

    def resume(self) -> None:
        """Continues from the folder's checkpoint. Raises as `TrainState.resume` does."""
        checkpoint = self.state.resume(self.checkpoint, self.config)
        self.epoch, self._started_from = checkpoint["epoch"], checkpoint.get("started_from")

    def _open(self, description: dict[str, Any]) -> MetricsLog:
        """Makes the folder, writes what is known before the first epoch, and opens the metrics."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / CONFIG_FILE, self.config.model_dump(mode="json"))
        write_json(self.folder / DESCRIPTION_FILE, description)
        return MetricsLog(self.folder, self.epoch)

    def _record(self, metrics: MetricsLog, row: dict[str, Any]) -> None:
        """Writes the metrics and the checkpoint of a finished epoch.

        The metrics come first: a run that is stopped between the two repeats the epoch when it resumes.
        """
        metrics.add(row)
        self.save()
        tqdm.write(
            "  ".join(
                f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
            )
        )
