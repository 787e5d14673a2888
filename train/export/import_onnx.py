"""An exported network -> a run again: to train it further, to fit its last layer, or to calibrate it anew.

An export folds every normalisation into the convolution before it, and training needs it back. So its statistics are
measured on crops, and its factors are those that undo them: the network computes what the file does.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from landmarks.golden import GOLDEN_TOLERANCE
from landmarks.metadata import ModelMetadata
from train.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from train.config import Config
    from train.datasets.source import DataSource

SAMPLES: Final = 512
"""Training faces that statistics are measured on, unless the caller says otherwise."""


def reopen(path: Path, source: DataSource, folder: Path, samples: int = SAMPLES) -> Config:
    """Writes an exported network as a finished run into a folder that has none; its covariance is not calibrated.

    Raises ConfigError when the file holds no network of `train.backbones`, or one in 8-bit integers; TrainingError when
    it cannot be read, when it lacks a part of the network (an HRNet's background maps are not exported), or when the
    folder has a run; MetadataError when the file does not state its codec.
    """
    import onnx

    from train.backbones import build
    from train.engine.learner import check_free
    from train.export.onnx_file import open_session
    from train.export.quantize import training_crops
    from train.runs.weights import TILT, write_finished

    metadata = ModelMetadata.from_mapping(open_session(path).get_modelmeta().custom_metadata_map)
    graph = onnx.load(path).graph
    shaped = any(tensor.name.startswith(TILT) for tensor in graph.initializer)
    config = config_of(metadata, shaped)
    check_free(folder)
    model = build(config.name, metadata.codec.points, shaped).eval()
    model.load_state_dict(unfolded(graph, model, path))
    settle(model, training_crops(metadata, source, samples))
    check_against_file(model, metadata, path)
    write_finished(folder, config, metadata.layout, model.state_dict(), path, metadata.data)
    return config


def config_of(metadata: ModelMetadata, shaped: bool) -> Config:
    """The configuration that a network's metadata tell of; how it was trained they do not. Raises ConfigError."""
    from train.config import Config, Stage, validated
    from train.export.quantize import SUFFIX

    if metadata.name.endswith(SUFFIX):
        raise ConfigError(f"{metadata.name} is in 8 bits, which nothing can be trained in: give what it was made from")
    codec = metadata.codec
    values: dict[str, Any] = {
        "name": metadata.name,
        "shape_refinement": shaped,
        "stages": [Stage(epochs=1, input_size=codec.input_size)],
        "crop_scale": metadata.crop_scale,
        "pixel_rule": codec.pixel_rule,
        "topk": codec.topk,
    }
    return validated(Config, values, metadata.run_id)


# ---------------------------------------------------------------- weights


def unfolded(graph: onnx.GraphProto, model: nn.Module, path: Path) -> dict[str, Tensor]:
    """The parameters of a file, by the model's names; a normalisation adds the bias that was folded, and does no more.

    Raises TrainingError unless they are those of the model; `path` is for the message alone.
    """
    import onnx
    import torch

    from train.runs.weights import differences

    wanted = model.state_dict()
    tensors = {each.name: torch.from_numpy(onnx.numpy_helper.to_array(each).copy()) for each in graph.initializer}
    # of equal tensors the exporter keeps one, and calls it by the other names
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
    """The module that an operation of an exported file was part of, by its name; empty where that does not tell.

    The exporter names the modules around it, from the outermost on, and those within a list by the list as well. So
    `/stages.0/stages.0.1/body/body.0/Conv` is of `stages.0.1.body.0`.
    """
    parts: list[str] = []
    for scope in node.split("/")[1:-1]:
        if parts and scope.startswith(f"{parts[-1]}."):
            parts[-1] = scope
        else:
            parts.append(scope)
    return ".".join(parts)


def norms_after(model: nn.Module) -> dict[str, tuple[str, nn.BatchNorm2d]]:
    """By the name of each convolution without a bias, its normalisation and that one's name: the module after it."""
    from torch import nn

    layers = [(name, each) for name, each in model.named_modules() if isinstance(each, (nn.Conv2d, nn.BatchNorm2d))]
    return {
        name: (after, norm)
        for (name, layer), (after, norm) in pairwise(layers)
        if isinstance(layer, nn.Conv2d) and layer.bias is None and isinstance(norm, nn.BatchNorm2d)
    }


def identity(norm: nn.BatchNorm2d, bias: Tensor) -> dict[str, Tensor]:
    """Parameters of a normalisation that adds a bias [C] and does no more."""
    import torch

    return {
        "weight": torch.ones_like(bias),
        "bias": bias,
        "running_mean": torch.zeros_like(bias),
        "running_var": torch.full_like(bias, 1 - norm.eps),
        "num_batches_tracked": torch.tensor(0),
    }


def settle(model: nn.Module, crops: NDArray[np.uint8]) -> None:
    """Gives the normalisations the statistics of what they see of crops [N, S, S, 3], and the factors that undo them.

    What a network in evaluation mode computes stays the same, up to rounding.
    """
    import torch

    from train.evaluation.predict import BATCH

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
    """A hook that adds to `sums` [3, C] what a normalisation is given, by channel: how many, their sum, of squares."""

    def observe(_norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        values = given[0].double().transpose(0, 1).flatten(1)
        sums[0] += values.shape[1]
        sums[1] += values.sum(dim=1)
        sums[2] += (values**2).sum(dim=1)

    return observe


def check_against_file(model: nn.Module, metadata: ModelMetadata, path: Path) -> None:
    """Raises TrainingError unless the model gives the golden points of the file it was made from."""
    from train.evaluation.predict import torch_network
    from train.export.torch_to_onnx import off_golden
    from train.objectives import CellObjective

    difference = off_golden(torch_network(model, CellObjective()), metadata)
    if not difference <= GOLDEN_TOLERANCE:
        raise TrainingError(f"{path}: the run made of it puts a golden point {difference:.3f} px away from the file's")
