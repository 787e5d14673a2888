"""A run that is made of another one by fitting a last layer, rather than by training."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from torch import nn

from train.config import Config
from train.datasets.training_data import TrainingData
from train.runs.files import write_json, write_torch_file
from train.runs.folder import CHECKPOINT_FILE, CONFIG_FILE, DESCRIPTION_FILE, points_crop_of
from train.runs.record import describe


def write_derived_run(folder: Path, out: Path, config: Config, network: nn.Module, data: TrainingData) -> None:
    """Writes configuration, description and checkpoint of the run `out`: the network of `folder` with another layer.

    `data`: what the layer was fitted to. The run names the data sets of both, and crops as the former one does.
    """
    out.mkdir(parents=True, exist_ok=True)
    origin = json.loads((folder / DESCRIPTION_FILE).read_text())
    names = tuple(dict.fromkeys([*origin["data"], *data.names]))
    facts = data.facts(config)
    crop = points_crop_of(folder)
    if crop is not None:
        facts["points_crop"] = asdict(crop)
    write_json(out / CONFIG_FILE, config.model_dump(mode="json"))
    write_json(out / DESCRIPTION_FILE, describe(config, names, data.fingerprint, origin["run_id"], **facts))
    state = {"config": config.model_dump(mode="json"), "epoch": config.epochs, "model": network.state_dict()}
    write_torch_file(out / CHECKPOINT_FILE, state)
