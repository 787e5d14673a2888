"""The cost of a network: its parameters, and the multiply-adds of one crop."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from landmarks.layout import WFLW98
from landmarks.size import Size
from train.backbones import build
from train.backbones.released import ReleasedNetwork


class Cost(NamedTuple):
    parameters: int
    multiply_adds: int
    """Of the convolutions, and two per output of a batch normalisation, as published figures are counted."""


def cost_of(name: str, input_size: Size, points: int = WFLW98.points) -> Cost:
    """The cost of a backbone by name for crops of that size; counted, not run. Raises ConfigError as `build`.

    A ReleasedNetwork is counted with both maps of its head, as published, though decoding needs the foreground alone.
    """
    with torch.device("meta"):
        model = build(name, points).eval()
        crop = torch.zeros(1, input_size.height, input_size.width, 3, dtype=torch.uint8)
    costs: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # an element of `weight[0]` is a multiply-add of each output of a convolution, of each input of a deconvolution
        each = 2 if isinstance(layer, nn.BatchNorm2d) else layer.weight[0].numel()  # type: ignore[index]
        costs.append(each * (inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output).numel())

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        model.both(crop) if isinstance(model, ReleasedNetwork) else model(crop)
    return Cost(sum(parameter.numel() for parameter in model.parameters()), sum(costs))
