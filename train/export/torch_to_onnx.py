"""A run -> an ONNX file that states its own CodecSpec, compared with PyTorch before it replaces another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from landmarks.codec import CodecSpec, Decoded, decode_output
from landmarks.golden import GoldenError, check_golden_answer, golden_crop, with_golden_answer
from landmarks.metadata import ModelMetadata
from landmarks.repository import remove_int8
from landmarks.tensors import contract
from train.errors import TrainingError, UncalibratedError
from train.evaluation.calibration import Calibration
from train.evaluation.readers import HeatmapNetwork
from train.evaluation.trained import from_run, load_run, open_export
from train.export.onnx_file import install, write_onnx
from train.objectives import correction, objective_of
from train.runs.folder import DESCRIPTION_FILE, layout_of, points_crop_of, read_report


def export(folder: Path, repository: Path, *, uncalibrated: bool = False) -> ModelMetadata:
    """Writes a run's network into a Triton model repository and stamps the repository's configurations.

    `uncalibrated`: also a run that was not calibrated, whose covariances say nothing about its errors.

    Raises TrainingError when the run has not finished or cannot be served and as `install_network` does, and
    UncalibratedError for a run that was not calibrated.
    """
    config, model = load_run(folder)
    read_report(folder)  # raises unless the run is finished
    origin = json.loads((folder / DESCRIPTION_FILE).read_text())
    if config.objective != "cells":
        raise TrainingError(f"{folder} was trained with the objective {config.objective!r}: only 'cells' can be served")
    if correction(objective_of(config).quantizer):
        raise TrainingError(
            f"{folder} was trained with the quantizer {config.quantizer!r}, whose decoding needs a correction: "
            "only unbiased ones can be served"
        )
    if not uncalibrated and Calibration.read(folder) is None:
        raise UncalibratedError(
            f"{folder} is not calibrated, so its covariances and scores would say nothing about its errors: run "
            f"`landmarks-train calibrate --run {folder} --data ...` first, or add --uncalibrated"
        )
    trained = from_run(folder, config, model)
    metadata = ModelMetadata(
        name=config.name,
        codec=trained.codec,
        crop_scale=config.crop_scale,
        run_id=origin["run_id"],
        data=tuple(origin["data"]),
        layout=layout_of(folder),
        points_crop=points_crop_of(folder),
        degrees_of_freedom=trained.degrees_of_freedom,
        plausibility=trained.plausibility,
    )
    return install_network(model, trained.network, metadata, repository)


def install_network(
    model: nn.Module, network: HeatmapNetwork, metadata: ModelMetadata, repository: Path
) -> ModelMetadata:
    """Writes a network into a Triton model repository, with its answer to the golden crop in the metadata.

    `network`: the answers of `model`. The 8-bit version of the former network is removed: it would be another model
    than the rest of the repository. Raises TrainingError when ONNX Runtime and PyTorch disagree on the golden crop.
    """
    metadata = with_golden_answer(metadata, golden_answer(network, metadata.codec))
    install(repository, metadata, lambda path: write_checked(model, metadata, path))
    remove_int8(repository)
    return metadata


def golden_answer(network: HeatmapNetwork, codec: CodecSpec) -> Decoded:
    """The network's own answer to the golden crop."""
    return decode_output(network(golden_crop(codec.input_size)[None]), codec)


def golden_error(network: HeatmapNetwork, metadata: ModelMetadata) -> float:
    """The largest difference, in crop pixels, between a network's points of the golden crop and the metadata's."""
    points = golden_answer(network, metadata.codec).points[0]
    return float(np.abs(points - np.array(metadata.golden_points)).max())


def write_checked(model: nn.Module, metadata: ModelMetadata, path: Path) -> None:
    """Writes the network as an ONNX file with the tensors of the Triton contract. Raises as `check_against_torch`."""
    tensors = contract(metadata.codec, metadata.has_visibility)
    example = torch.zeros(1, *tensors.crops.shape, dtype=torch.uint8)
    axes = {spec.name: {0: "batch"} for spec in (tensors.crops, *tensors.predicted)}
    write_onnx(model, example, axes, tuple(spec.name for spec in tensors.predicted), metadata, path)
    check_against_torch(path, metadata)


def check_against_torch(path: Path, metadata: ModelMetadata) -> None:
    """Raises TrainingError unless ONNX Runtime answers the golden crop as PyTorch did."""
    try:
        check_golden_answer(metadata, golden_answer(open_export(path).network, metadata.codec))
    except GoldenError as error:
        raise TrainingError(f"the exported network does not answer as PyTorch does: {error}") from error
