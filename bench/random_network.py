"""A network with random weights in a model repository of its own: what a large one costs to serve needs no training."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measuring import ROOT
from landmarks.codec import CodecSpec
from landmarks.golden import with_golden_answer
from landmarks.metadata import ModelMetadata
from landmarks.repository import remove_int8

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
    from train.export.onnx_file import install
    from train.export.torch_to_onnx import golden_answer, write_checked
    from train.objectives import CellObjective

    repository = Path(shutil.copytree(ROOT / "model_repo", folder / backbone))
    network, codec = random_network(backbone), CodecSpec()
    metadata = ModelMetadata(backbone, codec, crop_scale=1.25, run_id="random weights", data=())
    metadata = with_golden_answer(metadata, golden_answer(torch_network(network, CellObjective()), codec))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        install(repository, metadata, lambda path: write_checked(network, metadata, path))
    remove_int8(repository)
    return repository
