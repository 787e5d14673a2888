"""A trained network to evaluate or export: from a run's folder, or from an exported file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from landmarks.codec import CodecSpec, NetworkOutput, without_visibility
from landmarks.metadata import ModelMetadata, PointsCrop
from landmarks.tensors import contract
from landmarks.uncertainty import Plausibility
from train.backbones import build
from train.config import Config
from train.datasets.face import BoxKind
from train.evaluation.calibration import Calibration
from train.evaluation.predict import torch_network
from train.evaluation.readers import HeatmapNetwork
from train.export.onnx_file import open_session
from train.objectives import correction, objective_of
from train.runs.folder import layout_of, load_result, points_crop_of


@dataclass(frozen=True)
class Trained:
    """A network, and what its use takes."""

    network: HeatmapNetwork
    codec: CodecSpec
    crop_scale: float
    """Side of the crop over that of the rectangle of its shape about the face box."""
    correction: float = 0.0
    """Cells that a decoder adds because of the quantizer of training: see `train.objectives.correction`."""
    degrees_of_freedom: Mapping[str, float] = field(default_factory=dict)
    """Degrees of freedom of its errors, by group: see `landmarks.uncertainty`."""
    points_crop: PointsCrop | None = None
    """Where a second pass crops a face about its points."""
    boxes: BoxKind = "P2"
    """The kind of boxes that it was trained about; of an exported file it is not known, and a detector's is meant."""
    plausibility: Plausibility | None = None
    """Tells answers for squeezed faces from others."""


def open_run(folder: Path) -> Trained:
    """The network of a run's checkpoint, at the crop size of its last stage, calibrated if the run is calibrated.

    Raises TrainingError without a checkpoint.
    """
    return from_run(folder, *load_run(folder))


def from_run(folder: Path, config: Config, model: nn.Module) -> Trained:
    """As `open_run`, for a run whose configuration and model `load_run` has returned."""
    layout, calibration = layout_of(folder), Calibration.read(folder)
    codec = config.codec(config.stages[-1].input_size, layout.points)
    objective = objective_of(config)
    return Trained(
        torch_network(model, objective),
        calibration.apply(codec, layout) if calibration else codec,
        config.crop_scale,
        correction(objective.quantizer),
        calibration.degrees_of_freedom if calibration else {},
        points_crop_of(folder),
        config.boxes,
        calibration.plausibility if calibration else None,
    )


def load_run(folder: Path) -> tuple[Config, nn.Module]:
    """A run's configuration, and its network in evaluation mode, with averaged weights where the run has them.

    Raises TrainingError without a checkpoint.
    """
    return load_result(
        folder,
        Config,
        lambda config: build(config.name, layout_of(folder).points, config.shape_refinement, config.visibility),
    )


def open_trained(run: Path | None, model: Path | None) -> Trained:
    """The network of a run's folder, or of an exported file: one of the two is given."""
    if run:
        return open_run(run)
    assert model
    return open_export(model)


def open_export(path: Path) -> Trained:
    """The network of an exported file, in ONNX Runtime on the CPU.

    Raises TrainingError when it cannot be run, MetadataError when it does not state its codec.
    """
    session = open_session(path)
    metadata = ModelMetadata.from_mapping(session.get_modelmeta().custom_metadata_map)
    name = session.get_inputs()[0].name
    names = [spec.name for spec in contract(metadata.codec, metadata.has_visibility).predicted]

    def network(crops: NDArray[np.uint8]) -> NetworkOutput:
        outputs = [np.asarray(values, np.float32) for values in session.run(names, {name: crops})]
        return NetworkOutput(*outputs) if metadata.has_visibility else without_visibility(outputs[0])

    return Trained(
        network,
        metadata.codec,
        metadata.crop_scale,
        degrees_of_freedom=metadata.degrees_of_freedom,
        points_crop=metadata.points_crop,
        plausibility=metadata.plausibility,
    )
