"""What a run records besides its checkpoint: its identity and data, and its metrics epoch by epoch."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import torch
from torch.utils.tensorboard import SummaryWriter

from landmarks.size import Size
from train.config import Recipe
from train.runs.folder import METRICS_FILE, TENSORBOARD_FOLDER

CURVES: Final = ("loss", "learning_rate", "input_size", "nme", "fr10", "auc10")
"""The figures of an epoch that TensorBoard shows; of the size of a rectangle its longer side."""


def describe(
    config: Recipe, names: Sequence[str], fingerprint: str, started_from: str | None, **more: Any
) -> dict[str, Any]:
    """A run's identity and what it is trained with: command, commit, seed, data and the version of PyTorch.

    `names` and `fingerprint` are those of the data, and `more` are further facts.
    """
    commit = git_commit()
    identity = hashlib.sha256(f"{config.model_dump_json()} {commit} {fingerprint}".encode()).hexdigest()
    return {
        "run_id": f"{config.name}-{identity[:12]}",
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": commit,
        "seed": config.seed,
        "started_from": started_from,
        "data": list(names),
        **more,
        "data_fingerprint": fingerprint,
        "torch": torch.__version__,
    }


def git_commit() -> str:
    """The checkout's commit, with "-dirty" where tracked files differ; "unknown" outside a checkout."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 # fixed
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


class MetricsLog:
    """The metrics of a run: a line per epoch in metrics.jsonl, and TensorBoard's scalars. A context manager."""

    def __init__(self, folder: Path, epoch: int) -> None:
        """Continues at an epoch, counted from 0: drops what an interrupted run wrote about it and about later ones."""
        self.path = folder / METRICS_FILE
        kept = [row for row in read_rows(self.path) if row["epoch"] < epoch]
        self.path.write_text("".join(json.dumps(row) + "\n" for row in kept))
        self._board = SummaryWriter(folder / TENSORBOARD_FOLDER, purge_step=epoch)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._board.close()

    def add(self, row: dict[str, Any]) -> None:
        """Writes the metrics of an epoch."""
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        for name in CURVES:
            if name in row:
                value = max(Size.parse(row[name])) if name == "input_size" else row[name]
                self._board.add_scalar(name, value, row["epoch"])
        self._board.flush()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; none where the file is missing."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
