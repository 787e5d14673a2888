"""MobileNetV2 up to its stride of 16, with the features of three strides side by side under one head.

The shape of the small networks released with the code of Yu and Tao, "Heatmap Regression via Randomized Rounding":
0.60 M parameters and 0.51 G multiply-adds for 98 points at 256 pixels, as the README of the release states. The paper
itself has no such network. Attributes are named so that every parameter has the name and shape of the released weights.

Source of the blocks: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
"""

from __future__ import annotations

from typing import ClassVar, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.backbones.released import ReleasedNetwork


class Stage(NamedTuple):
    """Blocks in a row, of which the first halves the size where the stride is 2."""

    expansion: int
    channels: int
    blocks: int
    stride: int


STEM: Final = 32
"""Channels of the first convolution."""
STAGES: Final = (Stage(1, 16, 1, 1), Stage(6, 24, 2, 2), Stage(6, 32, 3, 2), Stage(6, 64, 4, 2), Stage(6, 96, 3, 1))
TAPS: Final = (1, 2, 4)
"""The stages, counted from 0, whose outputs are the features: of strides 4, 8 and 16."""


def layers(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True
) -> list[nn.Module]:
    """Convolution, batch normalisation and (unless `act` is off) ReLU6."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs), *([nn.ReLU6(inplace=True)] if act else [])]


class InvertedResidual(nn.Module):
    """1x1 to `expansion` times the channels (left out for 1), depthwise 3x3, 1x1 without activation; added to the input
    where it has the same shape.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        middle = expansion * inputs
        expanded = layers(inputs, middle, 1) if expansion > 1 else []
        depthwise, projected = layers(middle, middle, 3, stride, groups=middle), layers(middle, outputs, 1, act=False)
        self.conv = nn.Sequential(*expanded, *depthwise, *projected)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.adds else y


class MobileNetV2(ReleasedNetwork):
    """RGB crops uint8 [N, H, W, 3] -> logits float [N, P, H/4, W/4]: see ReleasedNetwork."""

    CLASSIFIER: ClassVar = (*(f"features.{i}." for i in range(14, 19)), "conv.", "classifier.")

    def __init__(self, points: int = 98) -> None:
        super().__init__(points)
        blocks: list[nn.Module] = [nn.Sequential(*layers(3, STEM, 3, stride=2))]
        ends, channels = [], STEM
        for stage in STAGES:
            for i in range(stage.blocks):
                blocks.append(
                    InvertedResidual(channels, stage.channels, stage.expansion, stage.stride if i == 0 else 1)
                )
                channels = stage.channels
            ends.append(len(blocks))
        self.features = nn.Sequential(*blocks)
        self._ends = [ends[stage] for stage in TAPS]
        self.head = self.new_head(sum(STAGES[stage].channels for stage in TAPS))
        self.initialise()

    def extract(self, crops: Tensor) -> Tensor:
        """The features of three strides, resized to stride 4: float [N, 152, H/4, W/4]."""
        x, tapped, start = self.normalised(crops), [], 0
        for end in self._ends:
            x = self.features[start:end](x)
            tapped.append(x)
            start = end
        first, *others = tapped
        size = first.shape[-2:]
        resized = (F.interpolate(other, size, mode="bilinear", align_corners=False) for other in others)
        return torch.cat([first, *resized], dim=1)
