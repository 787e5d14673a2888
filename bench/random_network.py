"""A network with random weights in a model repository of its own: what a large one costs to serve needs no training."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measuring import ROOT
from landmarks.codec import CodecSpec
from landmarks.metadata import ModelMetadata

if TYPE_CHECKING:
    from torch import nn


def random_network(backbone: str) -> nn.Module:
    """The backbone by that name, always with the same weights. Raises SystemExit for an unknown name."""
    import torch

    from train.backbones import build
    from train.errors import ConfigError

    torch.manual_seed(0)
    try:
        return build(backbone).eval()
    except ConfigError as error:
        raise SystemExit(str(error)) from error


def random_repository(backbone: str, folder: Path) -> Path:
    """Copies the model repository below `folder`, with such a network in it, whose points mean nothing."""
    from train.evaluation.predict import torch_network
    from train.export.torch_to_onnx import install_network
    from train.objectives import CellObjective

    repository = Path(shutil.copytree(ROOT / "model_repo", folder / backbone))
    model = random_network(backbone)
    metadata = ModelMetadata(backbone, CodecSpec(), crop_scale=1.25, run_id="random weights", data=())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        install_network(model, torch_network(model, CellObjective()), metadata, repository)
    return repository
