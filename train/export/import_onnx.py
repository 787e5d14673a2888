"""An exported ONNX file -> a finished run: to train it further, to fit its last layer, or to calibrate it again.

The export fuses every batch normalisation with the convolution before it, and training needs the two apart. So the
statistics of the normalisation are measured on crops, and its weight and bias are set to undo them: the imported
network computes what the file computes.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from landmarks.golden import GOLDEN_TOLERANCE
from landmarks.metadata import ModelMetadata
from train.backbones import build
from train.config import Config, Stage, validated
from train.datasets.source import DataSource
from train.errors import ConfigError, TrainingError
from train.evaluation.predict import BATCH, torch_network
from train.export.onnx_file import open_session
from train.export.quantize import SUFFIX, training_crops
from train.export.torch_to_onnx import golden_error
from train.objectives import CellObjective
from train.runs.folder import require_no_run, write_finished_run
from train.runs.weights import TILT, VISIBILITY, differences

VISIBILITY_WEIGHT: Final = f"{VISIBILITY}hidden.weight"
"""A parameter of `train.backbones.refinement.Visibility`."""
SAMPLES: Final = 512
"""Default number of training faces that statistics are measured on."""


def import_onnx(path: Path, source: DataSource, folder: Path, samples: int = SAMPLES) -> Config:
    """Writes an exported network into a folder as a finished run, whose covariances are not calibrated.

    Statistics are measured on `samples` training faces of `source`. Raises ConfigError when the file holds no network
    of `train.backbones`, or one in 8-bit integers; TrainingError when it cannot be read, when it lacks a part of the
    network (an HRNet's background maps are not exported), or when the folder has a run; MetadataError when the file
    does not state its codec.
    """
    metadata = ModelMetadata.from_mapping(open_session(path).get_modelmeta().custom_metadata_map)
    graph = onnx.load(path).graph
    shaped = any(tensor.name.startswith(TILT) for tensor in graph.initializer)
    # what states visibility in the files of earlier releases is left out: fit-visibility makes another
    visibility = any(tensor.name == VISIBILITY_WEIGHT for tensor in graph.initializer)
    config = config_of(metadata, shaped, visibility)
    require_no_run(folder)
    model = build(config.name, metadata.codec.points, shaped, visibility).eval()
    model.load_state_dict(unfuse_batchnorm(graph, model, path))
    recalibrate_batchnorm(model, training_crops(metadata, source, samples))
    check_against_file(model, metadata, path)
    write_finished_run(folder, config, metadata.layout, model.state_dict(), path, metadata.data, metadata.points_crop)
    return config


def config_of(metadata: ModelMetadata, shaped: bool, visibility: bool) -> Config:
    """The configuration as far as a network's metadata state it: not how it was trained. Raises ConfigError."""
    if metadata.name.endswith(SUFFIX):
        raise ConfigError(f"{metadata.name} is in 8 bits, which cannot be trained: give what it was quantized from")
    codec = metadata.codec
    values: dict[str, Any] = {
        "name": metadata.name,
        "shape_refinement": shaped,
        "visibility": visibility,
        "stages": [Stage(epochs=1, input_size=codec.input_size)],
        "crop_scale": metadata.crop_scale,
        "pixel_rule": codec.pixel_rule,
        "topk": codec.topk,
    }
    return validated(Config, values, metadata.run_id)


# ---------------------------------------------------------------- weights


def unfuse_batchnorm(graph: onnx.GraphProto, model: nn.Module, path: Path) -> dict[str, Tensor]:
    """The parameters of a file by the model's names; each normalisation only adds the bias of the fused convolution.

    Raises TrainingError unless they are the parameters of the model; `path` is for the message alone.
    """
    wanted = model.state_dict()
    tensors = {each.name: torch.from_numpy(onnx.numpy_helper.to_array(each).copy()) for each in graph.initializer}
    # of equal tensors the exporter keeps one, and gives it the other names by an Identity
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in tensors:
            tensors[node.output[0]] = tensors[node.input[0]]
    given = {name: tensor for name, tensor in tensors.items() if name in wanted}
    norms = norms_after(model)
    for node in graph.node:
        convolution = module_path(node.name)
        if node.op_type == "Conv" and convolution in norms and set(node.input[1:]) <= tensors.keys():
            name, norm = norms[convolution]
            weight, bias = (tensors[each] for each in node.input[1:])
            given[f"{convolution}.weight"] = weight
            given |= {f"{name}.{key}": value for key, value in identity(norm, bias).items()}
    problems = differences(wanted, given)
    if problems:
        raise TrainingError(f"{path} does not hold a network that can be trained: {'; '.join(problems)}")
    return given


def module_path(node: str) -> str:
    """The name of the module that an operation of an exported file belongs to; empty where it belongs to none.

    The exporter lists the enclosing modules from the outermost inwards, and repeats the name of a list in the names of
    its items: `/stages.0/stages.0.1/body/body.0/Conv` belongs to `stages.0.1.body.0`.
    """
    parts: list[str] = []
    for scope in node.split("/")[1:-1]:
        if parts and scope.startswith(f"{parts[-1]}."):
            parts[-1] = scope
        else:
            parts.append(scope)
    return ".".join(parts)


def norms_after(model: nn.Module) -> dict[str, tuple[str, nn.BatchNorm2d]]:
    """By the name of each convolution without a bias: the name of the batch normalisation after it, and this module."""
    layers = [(name, each) for name, each in model.named_modules() if isinstance(each, (nn.Conv2d, nn.BatchNorm2d))]
    return {
        name: (after, norm)
        for (name, layer), (after, norm) in pairwise(layers)
        if isinstance(layer, nn.Conv2d) and layer.bias is None and isinstance(norm, nn.BatchNorm2d)
    }


def identity(norm: nn.BatchNorm2d, bias: Tensor) -> dict[str, Tensor]:
    """Parameters of a normalisation that only adds a bias [C]."""
    return {
        "weight": torch.ones_like(bias),
        "bias": bias,
        "running_mean": torch.zeros_like(bias),
        "running_var": torch.full_like(bias, 1 - norm.eps),
        "num_batches_tracked": torch.tensor(0),
    }


def recalibrate_batchnorm(model: nn.Module, crops: NDArray[np.uint8]) -> None:
    """Measures the statistics of every normalisation on crops [N, H, W, 3], and sets weight and bias to undo them.

    A network in evaluation mode computes the same as before, up to rounding.
    """
    norms = [norm for _, norm in norms_after(model).values()]
    sums = [torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in norms]
    hooks = [norm.register_forward_pre_hook(_observer(into)) for norm, into in zip(norms, sums, strict=True)]
    with torch.inference_mode():
        for start in range(0, len(crops), BATCH):
            model(torch.from_numpy(crops[start : start + BATCH]))
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        for norm, (count, first, second) in zip(norms, sums, strict=True):
            mean = first / count
            variance = second / count - mean**2
            norm.running_mean, norm.running_var = mean.float(), variance.float()
            norm.bias.add_(mean.float())
            norm.weight.copy_((variance + norm.eps).sqrt())


def _observer(sums: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """A hook that adds the count, the sum and the sum of squares of a normalisation's input to `sums` [3, C]."""

    def observe(_norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        values = given[0].double().transpose(0, 1).flatten(1)
        sums[0] += values.shape[1]
        sums[1] += values.sum(dim=1)
        sums[2] += (values**2).sum(dim=1)

    return observe


def check_against_file(model: nn.Module, metadata: ModelMetadata, path: Path) -> None:
    """Raises TrainingError unless the model gives the golden points of the file at `path`."""
    difference = golden_error(torch_network(model, CellObjective()), metadata)
    if not difference <= GOLDEN_TOLERANCE:
        raise TrainingError(f"{path}: imported, the network puts a golden point {difference:.3f} px away")
