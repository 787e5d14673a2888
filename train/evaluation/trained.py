"""A trained network to evaluate or export: from a run's folder, or from an exported file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from landmarks.codec import CodecSpec
from landmarks.layout import WFLW98, PointLayout
from landmarks.metadata import ModelMetadata
from train.backbones import build
from train.config import Config
from train.datasets.registry import LAYOUTS
from train.engine.learner import load_result
from train.evaluation.calibration import Calibration
from train.evaluation.predict import Network, torch_network
from train.export.onnx_file import open_session
from train.objectives import correction, objective_of
from train.runs.record import DESCRIPTION_FILE


@dataclass(frozen=True)
class Trained:
    """A network and what one must know to feed it."""

    network: Network
    codec: CodecSpec
    crop_scale: float
    correction: float = 0.0
    """Cells that the quantizer it was trained with asks a decoder to add: see `train.objectives.correction`."""
    degrees_of_freedom: Mapping[str, float] = field(default_factory=dict)
    """Of its errors, by group: see `landmarks.uncertainty`."""


def open_run(folder: Path) -> Trained:
    """The network of a run's last checkpoint, at the size of its last stage, and calibrated where the run is.

    Raises TrainingError without a checkpoint.
    """
    return as_run(folder, *load_run(folder))


def as_run(folder: Path, config: Config, model: nn.Module) -> Trained:
    """What `open_run` makes of that which `load_run` returns."""
    layout, calibration = layout_of(folder), Calibration.read(folder)
    codec = config.codec(config.stages[-1].input_size, layout.points)
    objective = objective_of(config)
    return Trained(
        torch_network(model, objective),
        calibration.apply(codec, layout) if calibration else codec,
        config.crop_scale,
        correction(objective.quantizer),
        calibration.degrees_of_freedom if calibration else {},
    )


def load_run(folder: Path) -> tuple[Config, nn.Module]:
    """A run's configuration, and its network in evaluation mode: of averaged weights, where the run has them.

    Raises TrainingError without a checkpoint.
    """
    return load_result(
        folder, Config, lambda config: build(config.name, layout_of(folder).points, config.shape_refinement)
    )


def layout_of(folder: Path) -> PointLayout:
    """The layout of the points that a run was trained on; runs that do not state theirs have 98."""
    description = folder / DESCRIPTION_FILE
    stated = json.loads(description.read_text()) if description.is_file() else {}
    return LAYOUTS[stated.get("layout", WFLW98.name)]


def open_export(path: Path) -> Trained:
    """An exported file, run by ONNX Runtime on the CPU.

    Raises TrainingError when it cannot be run, MetadataError when it does not state its codec.
    """
    session = open_session(path)
    metadata = ModelMetadata.from_mapping(session.get_modelmeta().custom_metadata_map)
    name = session.get_inputs()[0].name

    def network(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {name: crops})[0], np.float32)

    return Trained(network, metadata.codec, metadata.crop_scale, degrees_of_freedom=metadata.degrees_of_freedom)
