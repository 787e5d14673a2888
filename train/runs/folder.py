"""The folder of a run: the names of its files, and what the rest of `train` reads from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeVar

from torch import Tensor, nn

from landmarks.layout import WFLW98, PointLayout
from landmarks.metadata import PointsCrop
from train.config import Config, Recipe, validated
from train.datasets.registry import LAYOUTS
from train.errors import TrainingError
from train.runs.files import read_torch_file, write_json, write_torch_file

CHECKPOINT_FILE: Final = "checkpoint.pt"
"""The state of training after the last finished epoch, or only the configuration and the weights of a network."""
CONFIG_FILE: Final = "config.json"
"""The configuration."""
DESCRIPTION_FILE: Final = "run.json"
"""The run's identity and what it was trained on: see `train.runs.record.describe`."""
METRICS_FILE: Final = "metrics.jsonl"
"""A line of figures per epoch."""
TENSORBOARD_FOLDER: Final = "tensorboard"
"""The same figures for TensorBoard."""
REPORT_FILE: Final = "report.json"
"""The final figures. A run that has this file is finished."""
CALIBRATION_FILE: Final = "calibration.json"
"""The calibration of the covariances: see `train.evaluation.calibration`."""

R = TypeVar("R", bound=Recipe)


def require_no_run(folder: Path) -> None:
    """Raises TrainingError when the folder holds a run."""
    if (folder / CHECKPOINT_FILE).exists():
        raise TrainingError(f"{folder / CHECKPOINT_FILE} exists: choose another --out")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a run's checkpoint onto the CPU. Raises TrainingError when it is missing, or is not one."""
    if not path.is_file():
        raise TrainingError(f"{path}: no checkpoint there; landmarks-train fit makes one")
    state = read_torch_file(path)
    if not isinstance(state, dict) or not {"config", "epoch", "model"} <= state.keys():
        raise TrainingError(f"{path}: not the checkpoint of a run")
    return state


def load_result(folder: Path, kind: type[R], build: Callable[[R], nn.Module]) -> tuple[R, nn.Module]:
    """A run's configuration, and its network in evaluation mode, with averaged weights where the run has them.

    `build` makes the network of a configuration. Raises TrainingError without a checkpoint or where it is one of other
    layers, ConfigError when it is that of another kind of run.
    """
    path = folder / CHECKPOINT_FILE
    state = load_checkpoint(path)
    config = validated(kind, state["config"], str(path))
    model = build(config)
    try:
        model.load_state_dict(state.get("averaged", state["model"]))
    except RuntimeError as error:
        raise TrainingError(f"{path} is of a release whose networks had other layers ({error})") from error
    return config, model.eval()


def read_config(folder: Path) -> Config:
    """The configuration of a run of a landmark network. Raises ConfigError when it is unusable."""
    path = folder / CONFIG_FILE
    return validated(Config, json.loads(path.read_text("utf-8")), str(path))


def layout_of(folder: Path) -> PointLayout:
    """The layout of the points that a run was trained on; runs that do not state theirs have 98."""
    return LAYOUTS[_description(folder).get("layout", WFLW98.name)]


def points_crop_of(folder: Path) -> PointsCrop | None:
    """Where a second pass crops a face about its points; None in a run that does not state it."""
    stated = _description(folder).get("points_crop")
    return PointsCrop(**stated) if stated else None


def _description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION_FILE
    stated: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return stated


def read_report(folder: Path) -> dict[str, Any]:
    """A run's final figures. Raises TrainingError when the run has not finished."""
    path = folder / REPORT_FILE
    if not path.is_file():
        raise TrainingError(f"{folder} has no {REPORT_FILE}: the run is not finished; continue it with --resume")
    report: dict[str, Any] = json.loads(path.read_text())
    return report


def write_finished_run(
    folder: Path,
    config: Config,
    layout: PointLayout,
    weights: Mapping[str, Tensor],
    source: Path,
    data: Sequence[str],
    points_crop: PointsCrop | None = None,
) -> None:
    """Writes a folder like that of a finished run, for weights that were not trained here.

    `source` is the file that the weights come from, and `data` are the names of the data sets they were trained on.
    """
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    origin = {"run_id": f"imported-{digest[:12]}", "weights": source.name, "sha256": digest}
    folder.mkdir(parents=True, exist_ok=True)
    values = config.model_dump(mode="json")
    write_torch_file(folder / CHECKPOINT_FILE, {"config": values, "epoch": config.epochs, "model": dict(weights)})
    write_json(folder / CONFIG_FILE, values)
    facts = {"data": list(data), "layout": layout.name, "points_crop": points_crop and asdict(points_crop)}
    write_json(folder / DESCRIPTION_FILE, origin | facts)
    write_json(folder / REPORT_FILE, {"faces": 0, "by_k": {}})
