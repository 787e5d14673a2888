"""The compact backbone: a small residual feature pyramid with a heatmap head at stride 4.

Its input is the bytes of crops: normalisation is part of the network, so that a served model takes bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.backbones.layers import ConvNorm

WIDTHS = (32, 48, 80, 128)
"""Channels of the stages."""
NECK = 48
"""Channels of the top-down path."""


class Residual(nn.Module):
    """Two 3x3 convolutions with fewer channels between them, added to their input. A new block changes nothing but
    applies ReLU to its input.
    """

    def __init__(self, channels: int, middle: int) -> None:
        super().__init__()
        last = ConvNorm(middle, channels, act=False)
        nn.init.zeros_(last.norm.weight)
        self.body = nn.Sequential(ConvNorm(channels, middle), last)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class Compact(nn.Module):
    """RGB crops uint8 [N, H, W, 3] -> logits float [N, P, H/4, W/4], for any H and W divisible by 32.

    Four stages at strides 4, 8, 16 and 32, then top-down sums back to stride 4. Dense 3x3 convolutions on few
    channels: on a CPU they run closer to the arithmetic limit than depthwise ones of the same cost.
    """

    def __init__(self, points: int = 98, blocks: Sequence[int] = (1, 2, 3, 2)) -> None:
        """`blocks`: residual blocks of each stage."""
        super().__init__()
        self.stem = nn.Sequential(ConvNorm(3, 16, stride=2), ConvNorm(16, WIDTHS[0], stride=2))
        self.stages = nn.ModuleList()
        previous = WIDTHS[0]
        for i, (width, depth) in enumerate(zip(WIDTHS, blocks, strict=True)):
            down = [ConvNorm(previous, width, stride=2)] if i else []
            self.stages.append(nn.Sequential(*down, *(Residual(width, width // 2) for _ in range(depth))))
            previous = width
        self.lateral = nn.ModuleList(ConvNorm(width, NECK, kernel=1, act=False) for width in WIDTHS)
        self.merge = nn.ModuleList(ConvNorm(NECK, NECK) for _ in WIDTHS[:-1])
        self.head = nn.Conv2d(NECK, points, 1)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, crops: Tensor) -> Tensor:
        x: Tensor = self.stem(normalise(crops))
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        x = self.lateral[-1](features[-1])
        for i in reversed(range(len(features) - 1)):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = self.merge[i](F.relu(x + self.lateral[i](features[i])))
        logits: Tensor = self.head(x)
        return logits


def normalise(crops: Tensor) -> Tensor:
    """RGB uint8 [N, H, W, 3] -> float32 [N, 3, H, W] from about -2 to 2, channels last in memory."""
    # TensorRT takes bytes as an input but can only convert them, so the conversion comes first. A permutation between
    # the arithmetic and the first convolution would keep 8-bit networks from reading the bytes directly
    return (crops.to(torch.float32).permute(0, 3, 1, 2) - 127.5) / 64.0
