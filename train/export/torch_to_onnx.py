"""A run -> an ONNX file that states its own CodecSpec, compared with PyTorch before it replaces another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from landmarks.codec import CodecSpec, decode
from landmarks.golden import GOLDEN_TOLERANCE, golden_crop
from landmarks.metadata import ModelMetadata
from landmarks.repository import remove_int8
from landmarks.tensors import contract
from train.errors import TrainingError
from train.evaluation.readers import Network
from train.evaluation.trained import from_run, load_run, open_export
from train.export.onnx_file import install, write_onnx
from train.objectives import correction, objective_of
from train.runs.folder import DESCRIPTION_FILE, layout_of, read_report


def export(folder: Path, repository: Path) -> ModelMetadata:
    """Writes the run's network into a Triton model repository and stamps the repository's configurations.

    An 8-bit network of the one before does not stay: it would be another model than the rest of the repository.

    Raises TrainingError when the run has not finished or cannot be served, or when ONNX Runtime and PyTorch
    disagree on the golden crop.
    """
    config, model = load_run(folder)
    read_report(folder)  # without one it is not finished
    origin = json.loads((folder / DESCRIPTION_FILE).read_text())
    if config.objective != "cells":
        raise TrainingError(f"{folder} was trained with the objective {config.objective!r}: only 'cells' can be served")
    if correction(objective_of(config).quantizer):
        raise TrainingError(
            f"{folder} was trained with the quantizer {config.quantizer!r}, whose decoding needs a correction: "
            "only unbiased ones can be served"
        )
    trained = from_run(folder, config, model)
    metadata = ModelMetadata(
        name=config.name,
        codec=trained.codec,
        crop_scale=config.crop_scale,
        run_id=origin["run_id"],
        data=tuple(origin["data"]),
        layout=layout_of(folder),
        golden_points=golden_points(trained.network, trained.codec),
        degrees_of_freedom=trained.degrees_of_freedom,
    )
    install(repository, metadata, lambda path: write_checked(model, metadata, path))
    remove_int8(repository)
    return metadata


def golden_points(network: Network, codec: CodecSpec) -> tuple[tuple[float, float], ...]:
    """The network's own points of the golden crop, in crop pixels to 1/1000."""
    points = decode(network(golden_crop(codec.input_size)[None]), codec).points[0]
    return tuple((round(float(x), 3), round(float(y), 3)) for x, y in points)


def golden_error(network: Network, metadata: ModelMetadata) -> float:
    """Crop pixels by which a network's answer to the golden crop differs from the metadata's, at most."""
    points = decode(network(golden_crop(metadata.codec.input_size)[None]), metadata.codec).points[0]
    return float(np.abs(points - np.array(metadata.golden_points)).max())


def write_checked(model: nn.Module, metadata: ModelMetadata, path: Path) -> None:
    """The network as an ONNX file of the tensors that the contract names. Raises as `check_against_torch` does."""
    tensors = contract(metadata.codec)
    example = torch.zeros(1, *tensors.crops.shape, dtype=torch.uint8)
    axes = {tensors.crops.name: {0: "batch"}, tensors.heatmaps.name: {0: "batch"}}
    write_onnx(model, example, axes, (tensors.heatmaps.name,), metadata, path)
    check_against_torch(path, metadata)


def check_against_torch(path: Path, metadata: ModelMetadata) -> None:
    """Raises TrainingError unless ONNX Runtime gives the golden points that PyTorch gave."""
    difference = golden_error(open_export(path).network, metadata)
    if not difference <= GOLDEN_TOLERANCE:
        raise TrainingError(f"the exported network puts a golden point {difference:.3f} px away from PyTorch's")
