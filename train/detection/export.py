"""Checkpoint -> ONNX file that states how its maps are decoded, checked against PyTorch before it is installed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from landmarks.detection import DetectorFunction, DetectorMaps, find_faces
from landmarks.detector import DetectorMetadata, DetectorSpec
from landmarks.golden import golden_crop
from landmarks.size import Size
from train.detection.evaluate import torch_network
from train.detection.run import load_detector
from train.errors import TrainingError
from train.export.onnx_file import install, open_session, write_onnx
from train.runs.folder import DESCRIPTION_FILE, read_report

INPUT = "pictures"
"""Name of the network's input in exported files."""
TOLERANCE = 1e-3
"""Largest difference in a logit between PyTorch and ONNX Runtime."""


def export_detector(folder: Path, repository: Path, threshold: float | None = None) -> DetectorMetadata:
    """Writes a finished run's network into a Triton model repository and stamps the detector's configuration.

    `threshold` replaces the one that the run chose. Raises TrainingError when the run has not finished, when its
    network does not find the golden crop's face, or when ONNX Runtime and PyTorch disagree.
    """
    config, model = load_detector(folder)
    chosen = read_report(folder)["threshold"]
    spec = replace(DetectorSpec(), threshold=chosen if threshold is None else threshold)
    origin = json.loads((folder / DESCRIPTION_FILE).read_text())
    network = torch_network(model)
    metadata = DetectorMetadata(
        name=config.name,
        spec=spec,
        run_id=origin["run_id"],
        commit=origin["commit"],
        data=tuple(origin["data"]),
        golden_box=golden_box(network, spec),
    )
    install(repository, metadata, lambda path: write_checked(model, metadata, path))
    return metadata


def golden_box(network: DetectorFunction, spec: DetectorSpec) -> tuple[float, float, float, float]:
    """The best face of the golden crop, in pixels to 1/1000. Raises TrainingError when there is none."""
    boxes = find_faces(golden_crop(), network, spec).boxes
    if not len(boxes):
        raise TrainingError("the network does not find the face of the golden crop: train it for longer")
    x1, y1, x2, y2 = (round(float(value), 3) for value in boxes[0])
    return x1, y1, x2, y2


def write_checked(model: nn.Module, metadata: DetectorMetadata, path: Path) -> None:
    """The network as an ONNX file for images of any size. Raises as `check_against_torch` does."""
    names = tuple(f"maps{level.stride}" for level in metadata.spec.levels)
    axes = {INPUT: {0: "batch", 1: "height", 2: "width"}}
    axes |= {name: {0: "batch", 2: f"rows_{name}", 3: f"columns_{name}"} for name in names}
    example = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    write_onnx(model, example, axes, names, metadata, path)
    check_against_torch(path, torch_network(model))


def check_against_torch(path: Path, network: DetectorFunction) -> None:
    """Raises TrainingError unless ONNX Runtime gives PyTorch's maps of the golden crop, at two sizes."""
    exported, _ = open_detector(path)
    for image in (golden_crop()[None], golden_crop(Size.square(128))[None, :96]):
        for ours, theirs in zip(network(image), exported(image), strict=True):
            difference = float(np.abs(ours - theirs).max())
            if ours.shape != theirs.shape or not difference <= TOLERANCE:
                raise TrainingError(f"the exported network's maps differ from PyTorch's by {difference:.4f}")


def open_detector(path: Path) -> tuple[DetectorFunction, DetectorMetadata]:
    """An exported file, run by ONNX Runtime on the CPU. Raises TrainingError or MetadataError when it is not one."""
    session = open_session(path)
    metadata = DetectorMetadata.from_mapping(session.get_modelmeta().custom_metadata_map)

    def run(images: NDArray[np.uint8]) -> DetectorMaps:
        return [np.asarray(maps[0], np.float32) for maps in session.run(None, {INPUT: images})]

    return run, metadata
