"""What a run leaves beside its checkpoint: what it was made from, its course epoch by epoch, its final figures."""

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

from train.config import Recipe
from train.errors import TrainingError

DESCRIPTION_FILE: Final = "run.json"
"""Name of the file that says what a run was made from."""
REPORT_FILE: Final = "report.json"
"""Name of the final figures within a run's folder; it is there once the run is finished."""
METRICS_FILE: Final = "metrics.jsonl"
"""Name of the file with a line per epoch."""
TENSORBOARD_FOLDER: Final = "tensorboard"
"""The same figures, as TensorBoard reads them."""
CURVES: Final = ("loss", "learning_rate", "input_size", "nme", "fr10", "auc10")
"""The figures of an epoch that TensorBoard shows."""


def describe(
    config: Recipe, names: Sequence[str], fingerprint: str, started_from: str | None, **more: Any
) -> dict[str, Any]:
    """What a run was made from: identity, command, commit, data and versions. The configuration lies beside it.

    `names` and `fingerprint` are the data's; `more` is what else there is to say of them.
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


def read_report(folder: Path) -> dict[str, Any]:
    """A run's final figures. Raises TrainingError when the run has not finished."""
    path = folder / REPORT_FILE
    if not path.is_file():
        raise TrainingError(f"{folder} has no {REPORT_FILE}: the run is not finished; go on with --resume")
    report: dict[str, Any] = json.loads(path.read_text())
    return report


class Journal:
    """A run's course: a line per epoch in metrics.jsonl, and TensorBoard's scalars. Use it in a `with`."""

    def __init__(self, folder: Path, epoch: int) -> None:
        """Goes on at an epoch, counted from 0: what an interrupted run wrote of it and of later ones is dropped."""
        # takes a second to import, which evaluation and export need not wait for
        from torch.utils.tensorboard import SummaryWriter

        self.path = folder / METRICS_FILE
        kept = [row for row in read_rows(self.path) if row["epoch"] < epoch]
        self.path.write_text("".join(json.dumps(row) + "\n" for row in kept))
        self._board = SummaryWriter(folder / TENSORBOARD_FOLDER, purge_step=epoch)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._board.close()

    def add(self, row: dict[str, Any]) -> None:
        """Writes an epoch's figures."""
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        for name in CURVES:
            if name in row:
                self._board.add_scalar(name, row[name], row["epoch"])
        self._board.flush()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
